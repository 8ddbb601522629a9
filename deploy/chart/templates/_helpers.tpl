{{- define "secateur.name" -}}
{{- if contains "secateur" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-secateur{{ end -}}
{{- end }}

{{- /* Labels of an object; give a dict with `root` and `part`. */ -}}
{{- define "secateur.labels" -}}
{{ include "secateur.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "secateur.selector" -}}
app.kubernetes.io/name: secateur
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "secateur.image" -}}
image: {{ .root.Values.image.registry }}{{ .image }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- end }}

{{- /* Variables: `root`, `settings` and `secrets` of this kind of process. */ -}}
{{- define "secateur.environment" -}}
env:
  - name: SECATEUR_DATABASE__URL
    valueFrom: {secretKeyRef: {name: {{ .root.Values.existingSecret }}, key: database-url}}
  - name: SECATEUR_QUEUE__URL
    valueFrom: {secretKeyRef: {name: {{ .root.Values.existingSecret }}, key: queue-url}}
  {{- range $name, $value := .settings }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
  {{- range $name, $from := .secrets }}
  - name: {{ $name }}
    valueFrom: {secretKeyRef: {name: {{ $from.name }}, key: {{ $from.key }}}}
  {{- end }}
envFrom: [{configMapRef: {name: {{ include "secateur.name" .root }}}}]
{{- end }}

{{- define "secateur.locked" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- /* What every pod has; the templates add its containers and volumes. */ -}}
{{- define "secateur.pod" -}}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "secateur.volumes" -}}
volumes:
  - {name: data, persistentVolumeClaim: {claimName: {{ .Values.storage.existingClaim | default (include "secateur.name" .) }}}}
  - {name: tmp, emptyDir: {}}
{{- end }}

{{- define "secateur.mounts" -}}
volumeMounts:
  - {name: data, mountPath: /data}
  - {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "secateur.firstKey" -}}
{{ .Values.firstKey.existingSecret | default (printf "%s-first-key" (include "secateur.name" .)) }}
{{- end }}
