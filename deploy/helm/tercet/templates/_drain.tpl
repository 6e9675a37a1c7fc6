{{- /*
How long a Pod waits before its process hears that it is to go, in seconds. What stands in front goes first:
a tier hears of it when the gateways have served out their grace, and each tier a step after the one before it.
A tier that leaves says so to the gateways itself, so it needs no grace of its own.
(dict "root" $ "role" "predict")
*/}}
{{- define "tercet.preStopSeconds" -}}
{{- $position := index (dict "gateway" 0 "all" 0 "pre" 1 "predict" 2 "post" 3) .role -}}
{{- if $position -}}
{{- $gateway := include "tercet.tier" (dict "root" .root "role" "gateway") | fromJson -}}
{{ add (ceil $gateway.drain.graceSeconds) (mul $position .root.Values.drainStepSeconds) }}
{{- else -}}
0
{{- end -}}
{{- end }}

{{- /*
When the kubelet kills it: after the wait, the grace, and twice the time for requests in flight, as `tercet up` has it
(for the doors, and then for what stands behind them); five seconds are for closing models.
(dict "root" $ "role" "predict" "tier" TIER)
*/}}
{{- define "tercet.terminationSeconds" -}}
{{- $wait := include "tercet.preStopSeconds" . | int -}}
{{ add $wait (ceil .tier.drain.graceSeconds) (mul 2 (ceil .tier.drain.exitTimeoutSeconds)) 5 }}
{{- end }}
