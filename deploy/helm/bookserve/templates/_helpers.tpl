{{- define "bookserve.labels" -}}
{{ include "bookserve.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
{{- define "bookserve.selector" -}}
app.kubernetes.io/name: bookserve
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "bookserve.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
