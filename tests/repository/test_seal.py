"""Versions that bring a manifest, over real folders, real keys and a clock that the test moves."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.domain.offer import ModelOffer
from server.repository.override import override
from server.repository.scanner import Scanner
from server.repository.seal import Demand
from server.repository.sealing import NothingToSeal, seal
from server.repository.signature import KeyUnusable, read_public_key

ALL = "version_policy { all {} }"


def only(scanner: Scanner) -> ModelOffer:
    (offer,) = scanner.scan().offers.values()
    return offer


def scanner_that(repository, clock, **demand) -> Scanner:
    return Scanner(
        [repository.path], demand=Demand(**demand), clock=clock.monotonic, wall_clock=clock.wall, settle_s=60
    )


@pytest.fixture
def keys(tmp_path):
    """Two pairs of key files: (private, public)."""
    pairs = []
    for name in ("ours", "theirs"):
        key = Ed25519PrivateKey.generate()
        private, public = tmp_path / f"{name}.pem", tmp_path / f"{name}.pub"
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        public.write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        pairs.append((private, public))
    return pairs


def test_a_version_that_fits_its_manifest_does_not_wait_to_come_to_rest(repository, clock):
    scanner = scanner_that(repository, clock)
    repository.put("m", 1, config=ALL)
    scanner.scan()
    clock.ahead_s = 0.0
    folder = repository.put("m", 2)
    assert set(only(scanner).versions) == {1}
    seal(folder)
    offer = only(scanner)
    assert (set(offer.versions), set(offer.unsettled)) == ({1, 2}, set())


def test_a_version_is_not_taken_up_while_a_file_that_its_manifest_names_is_short(repository, clock):
    scanner = scanner_that(repository, clock)
    repository.put("m", 1, config=ALL)
    scanner.scan()
    clock.ahead_s = 0.0
    folder = repository.put("m", 2)
    seal(folder)
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[:-1])
    offer = only(scanner)
    assert (set(offer.versions), set(offer.unsettled)) == ({1}, {2})
    (folder / "model.onnx").write_bytes(whole)
    assert set(only(scanner).versions) == {1, 2}


def test_what_does_not_fit_its_manifest_once_at_rest_is_refused_by_name(repository, clock, other_bytes):
    scanner = scanner_that(repository, clock)
    repository.put("m", 1, config=ALL)
    folder = repository.put("m", 2)
    seal(folder)
    (folder / "model.onnx").write_bytes(other_bytes)
    offer = only(scanner)
    assert set(offer.versions) == {1}
    assert offer.broken[2].startswith("model.onnx has the SHA-256 ")
    (folder / "pre.py").write_text("")
    scanner.scan()
    clock.s += 61
    assert only(scanner).broken[2] == "pre.py is not named in manifest.json"
    seal(folder)
    assert set(only(scanner).versions) == {1, 2}


def test_where_the_latest_does_not_fit_the_next_one_is_held_to_its_manifest_too(
    repository, clock, other_bytes
):
    for version in (1, 2, 3):
        folder = repository.put("m", version)
        seal(folder)
        if version > 1:
            (folder / "model.onnx").write_bytes(other_bytes)
    offer = only(scanner_that(repository, clock))
    assert set(offer.versions) == {1}
    assert set(offer.broken) == {3}


def test_a_manifest_that_comes_later_is_no_new_content(repository, clock):
    scanner = scanner_that(repository, clock)
    folder = repository.put("m", 1)
    before = only(scanner).versions[1].fingerprint
    seal(folder)
    scanner.scan()
    clock.s += 61
    assert only(scanner).versions[1].fingerprint == before


def test_a_manifest_can_be_demanded(repository, clock):
    scanner = scanner_that(repository, clock, manifest=True)
    folder = repository.put("m", 1)
    offer = only(scanner)
    assert (set(offer.versions), offer.broken) == (
        set(),
        {1: "there is no manifest.json, which this server demands; `tercet manifest` writes it"},
    )
    seal(folder)
    assert set(only(scanner).versions) == {1}


def test_a_load_call_that_brings_files_must_bring_their_manifest_where_one_is_demanded(tmp_path, model_bytes):
    files = {"1/model.onnx": model_bytes}
    offer = override("m", "{}", files, tmp_path, None, demand=Demand(manifest=True))
    assert offer.broken[1].startswith("there is no manifest.json")


def test_a_signature_by_the_trusted_key_is_asked_for_and_no_other(repository, clock, keys):
    (ours, trusted), (theirs, _) = keys
    scanner = scanner_that(repository, clock, manifest=True, verify=read_public_key(trusted))
    folder = repository.put("m", 1)
    seal(folder)
    assert only(scanner).broken[1].startswith("manifest.json is not signed: there is no manifest.json.sig")
    seal(folder, theirs)
    scanner.scan()
    clock.s += 61
    assert (
        only(scanner).broken[1].startswith("manifest.json.sig is not a signature of manifest.json by the key")
    )
    seal(folder, ours)
    assert set(only(scanner).versions) == {1}


def test_a_signed_manifest_that_was_edited_is_refused(repository, clock, keys):
    (ours, trusted), _ = keys
    folder = repository.put("m", 1)
    seal(folder, ours)
    (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes() + b" ")
    scanner = scanner_that(repository, clock, manifest=True, verify=read_public_key(trusted))
    assert only(scanner).broken[1].startswith("manifest.json.sig is not a signature")


def test_sealing_anew_without_a_key_takes_the_old_signature_away(repository, keys):
    (ours, _), _ = keys
    folder = repository.put("m", 1)
    assert [path.name for path in seal(folder, ours)] == ["manifest.json", "manifest.json.sig"]
    seal(folder)
    assert not (folder / "manifest.json.sig").exists()


def test_a_whole_repository_is_sealed_at_once_and_notes_are_left_out(repository):
    repository.put("m", 1)
    folder = repository.put("n", 2)
    (folder / "README.md").write_text("")
    assert len(seal(repository.path)) == 2
    assert '"README.md"' not in (folder / "manifest.json").read_text()


def test_a_folder_without_versions_cannot_be_sealed(tmp_path):
    with pytest.raises(NothingToSeal, match="holds none"):
        seal(tmp_path)


def test_a_file_that_is_no_key_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "key").write_text("no key")
    with pytest.raises(KeyUnusable, match="is no key in PEM"):
        read_public_key(tmp_path / "key")
    with pytest.raises(KeyUnusable, match="No such file"):
        read_public_key(tmp_path / "nowhere")
