{{- /*
The words behind `tercet serve`, one option with its value in each.
(dict "root" $ "role" "predict" "tier" TIER)
*/}}
{{- define "tercet.arguments" -}}
{{- $values := .root.Values -}}
- --role={{ .role }}
- --id={{ include "tercet.fullname" .root }}
- --http-port=8000
- --grpc-port=8001
- --metrics-port=8002
{{- if has .role (list "pre" "predict" "post") }}
- --allow-http=false
{{- end }}
- --drain-grace-secs={{ .tier.drain.graceSeconds | toJson }}
- --exit-timeout-secs={{ .tier.drain.exitTimeoutSeconds | toJson }}
{{- if ne $values.state.kind "none" }}
- --state-dir=/var/lib/tercet
{{- end }}
{{- if ne .role "gateway" }}
{{- range include "tercet.places" .root | fromJsonArray }}
- --model-repository={{ . }}
{{- end }}
- --model-control-mode={{ $values.repository.controlMode }}
{{- if eq $values.repository.controlMode "poll" }}
- --repository-poll-secs={{ $values.repository.pollSecs | toJson }}
{{- end }}
{{- if eq $values.repository.kind "bucket" }}
- --model-cache-dir=/var/cache/tercet
- --model-cache-bytes={{ $values.repository.bucket.cache.bytes | int64 }}
{{- end }}
{{- end }}
{{- range $asked := include "tercet.asks" . | fromJsonArray }}
{{- with include "tercet.endpoints" (dict "root" $.root "role" $asked) }}
- --{{ $asked }}-endpoints={{ . }}
{{- end }}
{{- end }}
{{- if and (has .role (list "gateway" "all")) (not $values.clients.balance) }}
- --grpc-max-connection-age={{ mul $values.clients.maxAgeSeconds 1000 }}
{{- end }}
{{- with include "tercet.securityArguments" . }}
{{ . }}
{{- end }}
{{- with include "tercet.optionArguments" .tier }}
{{ . }}
{{- end }}
{{- end }}

{{- /* What `options` of a tier say: a list is an option that is repeated. */}}
{{- define "tercet.optionArguments" -}}
{{- range $name, $value := .options }}
{{- range (kindIs "slice" $value | ternary $value (list $value)) }}
- {{ printf "--%s=%s" $name (kindIs "string" . | ternary . (toJson .)) | quote }}
{{- end }}
{{- end }}
{{- end }}
