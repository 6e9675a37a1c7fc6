{{- /* Folders and addresses of models, as a JSON list. */}}
{{- define "tercet.places" -}}
{{- $repository := .Values.repository -}}
{{- if eq $repository.kind "bucket" -}}
{{- if not $repository.bucket.urls -}}
{{- fail "repository.kind is bucket, and repository.bucket.urls names none, as in s3://bucket/prefix" -}}
{{- end -}}
{{ $repository.bucket.urls | toJson }}
{{- else if eq $repository.kind "gitSync" -}}
{{- if not $repository.gitSync.url -}}
{{- fail "repository.kind is gitSync, and repository.gitSync.url is empty" -}}
{{- end -}}
{{- if not $repository.gitSync.image -}}
{{- fail "repository.kind is gitSync, and repository.gitSync.image is empty: name git-sync's image, version 4, as your registry has it" -}}
{{- end -}}
{{ list (clean (printf "/models/current/%s" $repository.gitSync.subPath)) | toJson }}
{{- else -}}
{{ list "/models" | toJson }}
{{- end -}}
{{- end }}

{{- define "tercet.repositoryVolumes" -}}
{{- $repository := .Values.repository -}}
{{- if eq $repository.kind "sample" }}
- name: models
  configMap:
    name: {{ include "tercet.fullname" . }}-sample
    items:
{{- range $path, $_ := .Files.Glob "files/sample/*/[0-9]*/model.*" }}
{{- $place := trimPrefix "files/sample/" $path }}
      - {key: {{ $place | replace "/" "." }}, path: {{ $place }}}
{{- end }}
{{- else if eq $repository.kind "pvc" }}
- name: models
  persistentVolumeClaim:
    claimName: {{ required "repository.kind is pvc, and repository.pvc.claim is empty" $repository.pvc.claim }}
    readOnly: true
{{- else if eq $repository.kind "gitSync" }}
- name: models
  emptyDir: {}
{{- else }}
- name: cache
  emptyDir: {sizeLimit: {{ $repository.bucket.cache.sizeLimit }}}
{{- end }}
{{- end }}

{{- define "tercet.repositoryMounts" -}}
{{- $repository := .Values.repository -}}
{{- if eq $repository.kind "bucket" }}
- {name: cache, mountPath: /var/cache/tercet}
{{- else }}
- name: models
  mountPath: /models
  readOnly: true
{{- if eq $repository.kind "pvc" }}
{{- with $repository.pvc.subPath }}
  subPath: {{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tercet.repositoryEnvironment" -}}
{{- if eq .Values.repository.kind "bucket" }}
{{- with .Values.repository.bucket }}
{{- with .endpointUrl }}
- {name: AWS_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- with .region }}
- {name: AWS_REGION, value: {{ . | quote }}}
{{- end }}
{{- if .gcpKey.secret }}
- {name: GOOGLE_APPLICATION_CREDENTIALS, value: /etc/tercet/gcp/{{ .gcpKey.key }}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A first checkout before the process starts, and one that goes on beside it. */}}
{{- define "tercet.gitSync" -}}
{{- range $name, $words := dict "first-checkout" (list "--one-time") "git-sync" (list (printf "--period=%s" .Values.repository.gitSync.period)) }}
{{- with $.Values.repository.gitSync }}
- name: {{ $name }}
  image: {{ .image }}
{{- if eq $name "git-sync" }}
  restartPolicy: Always
{{- end }}
  args:
    - --repo={{ .url }}
    - --ref={{ .ref }}
    - --depth={{ .depth | int }}
    - --root=/models
    - --link=current
{{- range $words }}
    - {{ . }}
{{- end }}
{{- with .credentialsSecret }}
  envFrom:
    - secretRef: {name: {{ . }}}
{{- end }}
  resources: {{- toYaml .resources | nindent 4 }}
  securityContext: {{- toYaml $.Values.securityContext | nindent 4 }}
  volumeMounts:
    - {name: models, mountPath: /models}
    - {name: tmp, mountPath: /tmp}
{{- end }}
{{- end }}
{{- end }}
