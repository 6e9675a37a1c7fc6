"""Finding each field's line in a text configuration."""

from hypothesis import given
from hypothesis import strategies as st

from server.repository.configuration import MODEL_CONFIG
from server.repository.places import Place, Places

TEXT = """# a comment with name: "no"
name: "m" max_batch_size: 8
input [
  { name: "x", dims: [ 3,
      0 ] },
  { name: "it's" dims: 1 dims: 2 }
]
input { name: 'y' }
dynamic_batching { preferred_batch_size: [ 4 ] default_queue_policy: { max_queue_size: 1 } }
parameters { key: "a" value { string_value: "b"
  "c" } }
"""


def test_every_field_has_the_line_and_column_of_its_name_and_list_elements_their_own():
    places = Places(TEXT, MODEL_CONFIG)
    assert places.find("name") == Place(2, 1)
    assert places.find("max_batch_size") == Place(2, 11)
    assert places.find("input[0].name") == Place(4, 5)
    assert places.find("input[0].dims[1]") == Place(5, 7)
    assert places.find("input[1].dims[1]") == Place(6, 26)
    assert places.find("input[2].name") == Place(8, 9)
    assert places.find("dynamic_batching.preferred_batch_size[0]") == Place(9, 44)
    assert places.find("dynamic_batching.default_queue_policy.max_queue_size") == Place(9, 72)
    assert places.find("parameters[0].value.string_value") == Place(10, 31)


def test_a_field_that_is_not_written_is_found_where_its_message_is():
    places = Places(TEXT, MODEL_CONFIG)
    assert places.find("input[2].data_type") == Place(8, 1)
    assert places.find("platform") is None
    assert not places.wrote("platform")
    assert places.wrote("max_batch_size")


def test_the_field_at_a_place_is_the_one_that_was_being_written_there():
    places = Places('name: "m"\ninput { nmae: "x" }\n', MODEL_CONFIG)
    assert places.field_at(Place(2, 9)) == "input[0].nmae"
    assert places.field_at(Place(1, 7)) == "name"


@given(st.text(alphabet="nameinput dims:[]{}<>,;\"'#\n\\019-", max_size=80))
def test_no_text_is_too_broken_to_be_read_for_its_places(text: str):
    assert Places(text, MODEL_CONFIG).by_field is not None
