{{- define "realtime-cluster.name" -}}
{{- $name := .Values.name | default .Release.Name }}
{{- if gt (len $name) 40 }}{{ fail (printf "the cluster would be named %q: set 'name' to at most 40 letters, digits and hyphens" $name) }}{{ end }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}{{ fail (printf "the cluster would be named %q: set 'name' to lower-case letters, digits and hyphens that begin with a letter" $name) }}{{ end }}
{{- $name }}
{{- end }}

{{- /* Not app.kubernetes.io/instance of the operator's objects, which is the cluster's name. */}}
{{- define "realtime-cluster.labels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: realtime-cluster
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "realtime-cluster.valkeyLabels" -}}
app.kubernetes.io/name: valkey
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "realtime-cluster.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "realtime-cluster.secretName" -}}
{{ .Values.secrets.existingSecret | default (printf "%s-keys" (include "realtime-cluster.name" .)) }}
{{- end }}

{{- /* The path that clients connect to. */}}
{{- define "realtime-cluster.path" -}}
{{ dig "websocket" "handler_prefix" "/connection/websocket" .Values.node }}
{{- end }}

{{- define "realtime-cluster.port" -}}
{{ .Values.service.port | default 8000 }}
{{- end }}

{{- /* Where Redis is: exactly one answer, or a message that says which to give. */}}
{{- define "realtime-cluster.redisAddress" -}}
{{- $own := dig "engine" "redis" dict .Values.node }}
{{- $elsewhere := or (hasKey $own "address") (hasKey $own "sentinel_address") (hasKey $own "cluster_address") (hasKey .Values.redis.secrets "addressSecretRef") (eq (dig "engine" "type" "redis" .Values.node) "memory") }}
{{- if .Values.valkey.enabled }}
{{- if or .Values.redis.address $elsewhere }}{{ fail "valkey.enabled is for trials: switch it off, or leave out the other Redis" }}{{ end }}
{{- printf "redis://%s-valkey:6379" (include "realtime-cluster.name" .) }}
{{- else if .Values.redis.address }}{{ .Values.redis.address }}
{{- else if not $elsewhere }}{{ fail "say where Redis is: set redis.address, or redis.secrets.addressSecretRef where it has a password, or valkey.enabled=true for a trial" }}
{{- end }}
{{- end }}
