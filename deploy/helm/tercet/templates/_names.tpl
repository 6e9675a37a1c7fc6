{{- define "tercet.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* 50 characters at most: what is made from it ends in -gateway-metrics and the like. */}}
{{- define "tercet.fullname" -}}
{{- $name := include "tercet.name" . -}}
{{- $made := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{ default $made .Values.fullnameOverride | trunc 45 | trimSuffix "-" }}
{{- end }}

{{- define "tercet.selector" -}}
app.kubernetes.io/name: {{ include "tercet.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tercet.labels" -}}
{{ include "tercet.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: tercet
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* (dict "root" $ "role" "predict") */}}
{{- define "tercet.roleSelector" -}}
{{ include "tercet.selector" .root }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "tercet.roleLabels" -}}
{{ include "tercet.labels" .root }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "tercet.image" -}}
{{- $tag := .tier.image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{- with .root.Values.image.registry }}{{ . }}/{{ end }}{{ .tier.image.repository }}:{{ $tag }}
{{- end }}

{{- /* Of those that read the repository. */}}
{{- define "tercet.readerAccount" -}}
{{- $made := .Values.serviceAccount.create | ternary (include "tercet.fullname" .) "default" -}}
{{ .Values.serviceAccount.name | default $made }}
{{- end }}

{{- /* Of those that do not. */}}
{{- define "tercet.gatewayAccount" -}}
{{ .Values.serviceAccount.create | ternary (printf "%s-gateway" (include "tercet.fullname" .)) "default" }}
{{- end }}
