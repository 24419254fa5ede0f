{{- define "kafka-once.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "kafka-once.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kafka-once.labels" -}}
{{ include "kafka-once.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "kafka-once.secretName" -}}
{{- .Values.secrets.existing | default (include "kafka-once.name" .) -}}
{{- end -}}

{{/* Names of the secret settings, without ONCE_, as a JSON list. */}}
{{- define "kafka-once.secretKeys" -}}
{{- if .Values.secrets.existing -}}
{{- .Values.secrets.keys | uniq | sortAlpha | toJson -}}
{{- else -}}
{{- keys (.Values.secrets.values | default dict) | sortAlpha | toJson -}}
{{- end -}}
{{- end -}}

{{/* Every variable of the sidecar by name, as a JSON map. */}}
{{- define "kafka-once.env" -}}
{{- $env := dict -}}
{{- $_ := set $env "ONCE_ADMIN_ADDR" (printf "0.0.0.0:%d" (int .Values.adminPort)) -}}
{{- $_ := set $env "ONCE_APP_URL" (printf "http://127.0.0.1:%d%s" (int .Values.app.port) .Values.app.path) -}}
{{- range $name, $value := .Values.settings -}}
{{- /* Numbers of YAML are floats: 1000000 must not become 1e+06. */ -}}
{{- $text := ternary (printf "%.0f" $value) (toString $value) (kindIs "float64" $value) -}}
{{- $_ := set $env (printf "ONCE_%s" $name) $text -}}
{{- end -}}
{{- range $name := include "kafka-once.secretKeys" . | fromJsonArray -}}
{{- $_ := set $env (printf "ONCE_%s_FILE" $name) (printf "/etc/kafka-once/secrets/%s" $name) -}}
{{- end -}}
{{- toJson $env -}}
{{- end -}}

{{/* What the schema cannot say. */}}
{{- define "kafka-once.check" -}}
{{- $_ := required "app.image is needed" .Values.app.image -}}
{{- range list "KAFKA_BROKERS" "KAFKA_TOPICS" "KAFKA_GROUP" -}}
{{- $_ := required (printf "settings.%s is needed" .) (get $.Values.settings .) -}}
{{- end -}}
{{- if and .Values.secrets.existing .Values.secrets.values -}}
{{- fail "secrets.existing and secrets.values exclude each other" -}}
{{- end -}}
{{- if not (has "REDIS_URL" (include "kafka-once.secretKeys" . | fromJsonArray)) -}}
{{- fail "secrets: REDIS_URL is needed, in secrets.values or as a key of secrets.existing" -}}
{{- end -}}
{{- $drain := .Values.settings.DRAIN_TIMEOUT | default "25s" | toString -}}
{{- $number := regexFind "^[0-9]+" $drain | int -}}
{{- $unit := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- $seconds := mulf $number (get $unit (regexFind "[a-z]+$" $drain) | default 1.0) -}}
{{- if le (float64 .Values.terminationGracePeriodSeconds) $seconds -}}
{{- fail (printf "terminationGracePeriodSeconds (%v) must be above settings.DRAIN_TIMEOUT (%s)" .Values.terminationGracePeriodSeconds $drain) -}}
{{- end -}}
{{- end -}}
