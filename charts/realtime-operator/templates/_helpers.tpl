{{- define "realtime-operator.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* Nodes let in Pods with this name: it is the same for every release. */}}
{{- define "realtime-operator.selectorLabels" -}}
app.kubernetes.io/name: realtime-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "realtime-operator.labels" -}}
{{ include "realtime-operator.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: realtime-cluster
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "realtime-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "realtime-operator.fullname" .) }}
{{- else }}{{ required "serviceAccount.name: name the account that is there, or set serviceAccount.create" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "realtime-operator.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* Restricted Pod Security, for a Pod and for a container. */}}
{{- define "realtime-operator.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "realtime-operator.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* What the operator does with clusters and what belongs to them: exactly the calls of its
       handlers and of apply/. Server-side apply is a patch, and a create where nothing is there. */}}
{{- define "realtime-operator.rules" -}}
- apiGroups: [realtimecluster.dev]
  resources: [realtimeclusters]
  verbs: [get, list, watch, patch]
- apiGroups: [realtimecluster.dev]
  resources: [realtimeclusters/status]
  verbs: [patch]
# Whether the namespace is being deleted: then no RealtimeCluster in it is kept for its drain.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# Where OwnerReferencesPermissionEnforcement is on, as on OpenShift, owning with blockOwnerDeletion
# takes this.
- apiGroups: [realtimecluster.dev]
  resources: [realtimeclusters/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods, configmaps]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch, delete]
# The admin key: made where the spec names none, and read by name.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}
