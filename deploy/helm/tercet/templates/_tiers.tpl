{{- /* The roles that have a Deployment, from the front to the back, as a JSON list. */}}
{{- define "tercet.roles" -}}
{{- $roles := list -}}
{{- if eq .Values.mode "fused" -}}
{{- $roles = list "all" -}}
{{- else if eq .Values.mode "tiers" -}}
{{- $roles = list "gateway" -}}
{{- range $role := list "pre" "predict" "post" -}}
{{- if (index $.Values $role).enabled -}}{{- $roles = append $roles $role -}}{{- end -}}
{{- end -}}
{{- end -}}
{{ $roles | toJson }}
{{- end }}

{{- /* The role whose processes clients ask. */}}
{{- define "tercet.frontRole" -}}
{{ eq .Values.mode "fused" | ternary "all" "gateway" }}
{{- end }}

{{- /* What holds for one role, as JSON: its own values over those of every tier. (dict "root" $ "role" "pre") */}}
{{- define "tercet.tier" -}}
{{- $tier := mustMergeOverwrite (deepCopy .root.Values.every) (deepCopy (index .root.Values .role)) -}}
{{- $scaled := and $tier.autoscaling.enabled (ne .root.Values.autoscaling.by "none") -}}
{{- $_ := set $tier "scaled" $scaled -}}
{{- if and (eq .root.Values.state.kind "pvc") (or $scaled (gt (int $tier.replicas) 1)) -}}
{{- fail (printf "state.kind is pvc, and %s has more than one replica: a state folder is one process's; take emptyDir" .role) -}}
{{- end -}}
{{- if and (eq (toString $tier.rollout.maxSurge) "0") (eq (toString $tier.rollout.maxUnavailable) "0") -}}
{{- fail (printf "%s.rollout allows neither one more Pod nor one less: nothing could ever be replaced" .role) -}}
{{- end -}}
{{- if and $tier.autoscaling.enabled (eq .root.Values.autoscaling.by "none") -}}
{{- fail (printf "%s.autoscaling is enabled, and autoscaling.by is none: nobody would scale it; say hpa or keda" .role) -}}
{{- end -}}
{{- if gt (int $tier.autoscaling.min) (int $tier.autoscaling.max) -}}
{{- fail (printf "%s.autoscaling: min is above max" .role) -}}
{{- end -}}
{{ $tier | toJson }}
{{- end }}

{{- /* Which tiers a role asks, as a JSON list: the way of a request, docs/decisions/hop.md. */}}
{{- define "tercet.asks" -}}
{{- $foreign := not .root.Values.predict.enabled -}}
{{- $asked := dict "gateway" (list "pre" "predict" "post") "pre" (list "predict") "predict" (list "post") -}}
{{- if $foreign -}}{{- $asked = set $asked "pre" (list "predict" "post") -}}{{- end -}}
{{ index $asked .role | default list | toJson }}
{{- end }}

{{- /* Where a tier is found; empty where there is none. (dict "root" $ "role" "predict") */}}
{{- define "tercet.endpoints" -}}
{{- if (index .root.Values .role).enabled -}}
{{- if and (eq .role "predict") .root.Values.predict.endpoints -}}
{{- fail "predict.endpoints names another server, so predict.enabled has to be false" -}}
{{- end -}}
dns:///{{ include "tercet.fullname" .root }}-{{ .role }}.{{ .root.Release.Namespace }}.svc:8001
{{- else if eq .role "predict" -}}
{{- if not .root.Values.predict.endpoints -}}
{{- fail "predict.enabled is false, and predict.endpoints names no other server, as in oip://triton:8001" -}}
{{- end -}}
{{ join "," .root.Values.predict.endpoints }}
{{- end -}}
{{- end }}
