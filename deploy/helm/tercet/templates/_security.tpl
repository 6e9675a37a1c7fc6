{{- /* What guards the doors of a process. (dict "root" $ "role" "gateway") */}}
{{- define "tercet.securityArguments" -}}
{{- $security := .root.Values.security -}}
{{- $known := or $security.apiKeys.secret $security.jwt.jwks $security.jwt.jwksSecret -}}
- --anonymous-rights={{ $security.anonymousRights | default (ternary "metrics" "inference,metrics" (not (empty $known))) }}
{{- if has .role (list "gateway" "all") }}
{{- if $security.apiKeys.secret }}
- --api-keys=/etc/tercet/keys/{{ $security.apiKeys.key }}
{{- end }}
{{- with $security.jwt }}
{{- if or .jwks .jwksSecret }}
{{- if not (and .issuer .audience) }}
{{- fail "security.jwt needs issuer and audience: a token made for somebody else would be good here, too" }}
{{- end }}
- --jwt-jwks={{ .jwks | default (printf "/etc/tercet/jwks/%s" .jwksKey) }}
- --jwt-issuer={{ .issuer }}
- --jwt-audience={{ .audience }}
{{- with .rightsClaim }}
- --jwt-rights-claim={{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- if $security.tls.enabled }}
- --tls-certificate=/etc/tercet/tls/tls.crt
- --tls-key=/etc/tercet/tls/tls.key
{{- if $security.tls.clientCa }}
- --tls-client-ca=/etc/tercet/tls/ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- if and $security.tierTls.enabled (ne .role "all") }}
- --tier-tls-certificate=/etc/tercet/tier-tls/tls.crt
- --tier-tls-key=/etc/tercet/tier-tls/tls.key
- --tier-tls-ca=/etc/tercet/tier-tls/ca.crt
{{- end }}
{{- end }}

{{- /* Whether the doors of a role, that for metrics too, speak TLS: true, or empty. */}}
{{- define "tercet.speaksTls" -}}
{{- if and .root.Values.security.tls.enabled (has .role (list "gateway" "all")) }}true{{ end -}}
{{- end }}

{{- define "tercet.tlsSecret" -}}
{{ .Values.security.tls.secret | default (printf "%s-tls" (include "tercet.fullname" .)) }}
{{- end }}

{{- define "tercet.tierTlsSecret" -}}
{{ .Values.security.tierTls.secret | default (printf "%s-tier-tls" (include "tercet.fullname" .)) }}
{{- end }}

{{- /* The secrets that a process reads as files: folder under /etc/tercet -> secret, as JSON. */}}
{{- define "tercet.secretFolders" -}}
{{- $security := .root.Values.security -}}
{{- $folders := dict -}}
{{- if has .role (list "gateway" "all") -}}
{{- with $security.apiKeys.secret -}}{{- $_ := set $folders "keys" . -}}{{- end -}}
{{- if and $security.jwt.jwksSecret (not $security.jwt.jwks) -}}
{{- $_ := set $folders "jwks" $security.jwt.jwksSecret -}}
{{- end -}}
{{- if $security.tls.enabled -}}{{- $_ := set $folders "tls" (include "tercet.tlsSecret" .root) -}}{{- end -}}
{{- end -}}
{{- if and $security.tierTls.enabled (ne .role "all") -}}
{{- $_ := set $folders "tier-tls" (include "tercet.tierTlsSecret" .root) -}}
{{- end -}}
{{- if and (ne .role "gateway") (eq .root.Values.repository.kind "bucket") -}}
{{- with .root.Values.repository.bucket.gcpKey.secret -}}{{- $_ := set $folders "gcp" . -}}{{- end -}}
{{- end -}}
{{ $folders | toJson }}
{{- end }}
