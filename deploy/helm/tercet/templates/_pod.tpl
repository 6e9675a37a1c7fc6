{{- /* The Pod of one role. (dict "root" $ "role" "predict" "tier" TIER) */}}
{{- define "tercet.pod" -}}
{{- $values := .root.Values -}}
{{- $reads := ne .role "gateway" -}}
{{- $folders := include "tercet.secretFolders" . | fromJson -}}
metadata:
  labels:
    {{- include "tercet.roleLabels" . | nindent 4 }}
{{- with .tier.podLabels }}
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- $annotations := .tier.podAnnotations }}
{{- if eq $values.monitoring.by "annotations" }}
{{- $scheme := include "tercet.speaksTls" . | empty | ternary "http" "https" }}
{{- $scraped := dict "scrape" "true" "port" "8002" "path" "/metrics" "scheme" $scheme }}
{{- range $key, $value := $scraped }}
{{- $annotations = set $annotations (printf "prometheus.io/%s" $key) $value }}
{{- end }}
{{- end }}
{{- with $annotations }}
  annotations: {{- toYaml . | nindent 4 }}
{{- end }}
spec:
  serviceAccountName: {{ $reads | ternary (include "tercet.readerAccount" .root) (include "tercet.gatewayAccount" .root) }}
  automountServiceAccountToken: false
  enableServiceLinks: false
{{- with $values.image.pullSecrets }}
  imagePullSecrets:
{{- range . }}
    - name: {{ . }}
{{- end }}
{{- end }}
  terminationGracePeriodSeconds: {{ include "tercet.terminationSeconds" . }}
  securityContext: {{- toYaml $values.podSecurityContext | nindent 4 }}
{{- with .tier.priorityClassName }}
  priorityClassName: {{ . }}
{{- end }}
{{- with .tier.runtimeClassName }}
  runtimeClassName: {{ . }}
{{- end }}
{{- with .tier.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
{{- end }}
{{- with .tier.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
{{- end }}
{{- with .tier.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
{{- end }}
{{- with .tier.topologySpread }}
  topologySpreadConstraints:
{{- range . }}
    - {{- toYaml . | nindent 6 }}
      labelSelector:
        matchLabels: {{- include "tercet.roleSelector" $ | nindent 10 }}
      matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- if and $reads (eq $values.repository.kind "gitSync") }}
  initContainers:
    {{- include "tercet.gitSync" .root | nindent 4 }}
{{- end }}
  containers:
    - name: tercet
      image: {{ include "tercet.image" . }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      command: [tercet, serve]
      args:
        {{- include "tercet.arguments" . | nindent 8 }}
{{- $environment := $reads | ternary (include "tercet.repositoryEnvironment" .root) "" }}
{{- if or $environment .tier.env }}
      env:
{{- with $environment }}
        {{- . | nindent 8 }}
{{- end }}
{{- with .tier.env }}
        {{- toYaml . | nindent 8 }}
{{- end }}
{{- end }}
{{- $secret := $reads | ternary $values.repository.bucket.credentialsSecret "" }}
{{- $secret = eq $values.repository.kind "bucket" | ternary $secret "" }}
{{- if or $secret .tier.envFrom }}
      envFrom:
{{- with $secret }}
        - secretRef: {name: {{ . }}}
{{- end }}
{{- with .tier.envFrom }}
        {{- toYaml . | nindent 8 }}
{{- end }}
{{- end }}
      ports:
{{- if has .role (list "gateway" "all") }}
        - {name: http, containerPort: 8000}
{{- end }}
        - {name: grpc, containerPort: 8001}
        - {name: metrics, containerPort: 8002}
      {{- include "tercet.probes" . | nindent 6 }}
{{- $wait := include "tercet.preStopSeconds" . | int }}
{{- if $wait }}
      lifecycle:
        preStop:
          sleep: {seconds: {{ $wait }}}
{{- end }}
{{- $resources := deepCopy .tier.resources }}
{{- if .tier.gpus }}
{{- $limits := $resources.limits | default dict }}
{{- $_ := set $limits .tier.gpuResource (int .tier.gpus) }}
{{- $_ = set $resources "limits" $limits }}
{{- end }}
      resources: {{- toYaml $resources | nindent 8 }}
      securityContext: {{- toYaml $values.securityContext | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
{{- if ne $values.state.kind "none" }}
        - {name: state, mountPath: /var/lib/tercet}
{{- end }}
{{- if $reads }}
        {{- include "tercet.repositoryMounts" .root | trim | nindent 8 }}
{{- end }}
{{- range $folder, $_ := $folders }}
        - {name: {{ $folder }}, mountPath: /etc/tercet/{{ $folder }}, readOnly: true}
{{- end }}
{{- with .tier.volumeMounts }}
        {{- toYaml . | nindent 8 }}
{{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
{{- if eq $values.state.kind "emptyDir" }}
    - name: state
      emptyDir: {sizeLimit: {{ $values.state.size }}}
{{- else if eq $values.state.kind "pvc" }}
    - name: state
      persistentVolumeClaim: {claimName: {{ include "tercet.fullname" .root }}-{{ .role }}-state}
{{- end }}
{{- if $reads }}
    {{- include "tercet.repositoryVolumes" .root | trim | nindent 4 }}
{{- end }}
{{- range $folder, $secret := $folders }}
    - name: {{ $folder }}
      secret: {secretName: {{ $secret }}, defaultMode: 0440}
{{- end }}
{{- with .tier.volumes }}
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}

{{- /*
Three questions, all asked at the metrics port, which is each process's own and asks nobody for a certificate:
startup    has it tried all that was there at the start? A gateway waits for other tiers and no restart would help
           that, so of it only whether it is up
liveness   is the process up? A model that fails is no reason for a restart
readiness  does it serve what it has to? Not any more from SIGTERM on
*/}}
{{- define "tercet.probes" -}}
{{- $probes := .tier.probes -}}
startupProbe:
  httpGet: {{- include "tercet.probePath" (dict "about" . "path" (eq .role "gateway" | ternary "live" "started")) | nindent 4 }}
  periodSeconds: 5
  timeoutSeconds: {{ $probes.timeoutSeconds | int }}
  failureThreshold: {{ ceil (divf $probes.startupSeconds 5) | int }}
livenessProbe:
  httpGet: {{- include "tercet.probePath" (dict "about" . "path" "live") | nindent 4 }}
  periodSeconds: 10
  timeoutSeconds: {{ $probes.timeoutSeconds | int }}
  failureThreshold: {{ ceil (divf $probes.livenessSeconds 10) | int }}
readinessProbe:
  httpGet: {{- include "tercet.probePath" (dict "about" . "path" "ready") | nindent 4 }}
  periodSeconds: 5
  timeoutSeconds: {{ $probes.timeoutSeconds | int }}
  failureThreshold: {{ ceil (divf $probes.readinessSeconds 5) | int }}
{{- end }}

{{- define "tercet.probePath" -}}
path: /v2/health/{{ .path }}
port: metrics
{{- if include "tercet.speaksTls" .about }}
scheme: HTTPS
{{- end }}
{{- end }}
