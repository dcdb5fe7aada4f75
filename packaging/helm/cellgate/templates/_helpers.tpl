{{/* What the other templates have in common, and what must hold between the values and the configuration. */}}

{{- define "cellgate.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "cellgate.selector" -}}
app.kubernetes.io/name: cellgate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "cellgate.labels" -}}
{{ include "cellgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "cellgate.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* A file's text below `name: |`. */}}
{{- define "cellgate.text" -}}
{{ regexReplaceAll "(?m)^ +$" (. | trimSuffix "\n" | indent 4) "" }}
{{- end }}

{{/* boot.yaml as JSON. */}}
{{- define "cellgate.boot" -}}
{{- if not .Values.config.boot }}{{ fail "config.boot is empty: --set-file config.boot=boot.yaml" }}{{ end }}
{{- $boot := fromYaml .Values.config.boot }}
{{- if hasKey $boot "Error" }}{{ fail (printf "config.boot is no YAML: %s" $boot.Error) }}{{ end }}
{{- toJson $boot }}
{{- end }}

{{/* Whole seconds of a time as boot.yaml writes it: one number and one unit, nothing else. */}}
{{- define "cellgate.seconds" -}}
{{- $text := toString . }}
{{- if not (regexMatch "^(0|[1-9][0-9]*)(ms|s|m|h|d)$" $text) }}
{{- fail (printf "drain of config.boot: %s is no time: one number and one unit (ms, s, m, h, d), such as 90s" $text) }}
{{- end }}
{{- $number := regexFind "^[0-9]+" $text | int }}
{{- $unit := regexFind "[a-z]+$" $text }}
{{- if eq $unit "ms" }}{{ div (add $number 999) 1000 }}
{{- else }}{{ mul $number (get (dict "s" 1 "m" 60 "h" 3600 "d" 86400) $unit) }}
{{- end }}
{{- end }}

{{/* Kubernetes kills after so long: later than cellgate itself cuts what still runs. */}}
{{- define "cellgate.secondsToStop" -}}
{{- $boot := include "cellgate.boot" . | fromJson }}
{{- $grace := include "cellgate.seconds" (dig "drain" "grace" "5s" $boot) | int }}
{{- $deadline := include "cellgate.seconds" (dig "drain" "deadline" "20s" $boot) | int }}
{{- add .Values.preStopSeconds $grace $deadline 10 }}
{{- end }}

{{/* The port of a listener; (dict "boot" BOOT "listener" NAME). */}}
{{- define "cellgate.port" -}}
{{- $port := "" }}
{{- $names := list }}
{{- range .boot.listeners }}
{{- $names = append $names .name }}
{{- if eq .name $.listener }}{{ $port = regexFind "[0-9]+$" .address }}{{ end }}
{{- end }}
{{- if not $port }}
{{- fail (printf "service.ports names listener %s, and config.boot has %s" .listener (join ", " $names)) }}
{{- end }}
{{- $port }}
{{- end }}

{{/* The most pods that ever run at once. A StatefulSet updates in place, so there is none more. */}}
{{- define "cellgate.mostReplicas" -}}
{{- if .Values.autoscaling.enabled }}{{ .Values.autoscaling.maxReplicas }}{{ else }}{{ .Values.replicas }}{{ end }}
{{- end }}

{{/* Fails where the configuration and the values do not fit each other; says nothing otherwise. */}}
{{- define "cellgate.fits" -}}
{{- if and .Values.config.files .Values.config.volume }}{{ fail "config.files and config.volume exclude each other" }}{{ end }}
{{- if not (or .Values.config.files .Values.config.volume) }}
{{- fail "there is no configuration: --set-file 'config.files.cellgate\\.yaml=cellgate.yaml', or config.volume" }}
{{- end }}
{{- if .Values.config.files }}
{{- $text := get .Values.config.files "cellgate.yaml" }}
{{- if not $text }}{{ fail "config.files has no cellgate.yaml: --set-file 'config.files.cellgate\\.yaml=cellgate.yaml'" }}{{ end }}
{{- $routing := fromYaml $text }}
{{- if hasKey $routing "Error" }}{{ fail (printf "cellgate.yaml is no YAML: %s" $routing.Error) }}{{ end }}
{{- $declared := dig "protection" "replicas" 1 $routing | int }}
{{- $most := include "cellgate.mostReplicas" . | int }}
{{- if ne $declared $most }}
{{- fail (printf "protection.replicas in cellgate.yaml is %d, and up to %d replicas run (%s): make them the same, for each replica takes its part of what cells can bear by that number" $declared $most (ternary "autoscaling.maxReplicas" "replicas" .Values.autoscaling.enabled)) }}
{{- end }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is above maxReplicas" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.sidecar.enabled) }}
{{- fail "metrics.serviceMonitor needs metrics.sidecar.enabled: /metrics is on the pod's loopback address alone" }}
{{- end }}
{{- if and .Values.metrics.sidecar.enabled (not (dig "admin" "loopback" "" (include "cellgate.boot" . | fromJson))) }}
{{- fail "metrics.sidecar needs admin.loopback in config.boot, such as 127.0.0.1:9900" }}
{{- end }}
{{- include "cellgate.fitsPorts" . }}
{{- include "cellgate.fitsLabels" . }}
{{- end }}

{{/* Kubernetes takes no Service that has a name or a port twice; the one of the replicas has ports of pods. */}}
{{- define "cellgate.fitsPorts" -}}
{{- $boot := include "cellgate.boot" . | fromJson }}
{{- $names := list }}
{{- $ports := list }}
{{- $inside := list }}
{{- if .Values.metrics.sidecar.enabled }}
{{- $names = list "metrics" }}
{{- $inside = list (toString .Values.metrics.sidecar.port) }}
{{- end }}
{{- range .Values.service.ports }}
{{- if has .name $names }}
{{- fail (printf "service.ports: two ports have the name %s, or one has it and metrics.sidecar the other; choose another name" .name) }}
{{- end }}
{{- if has (toString .port) $ports }}{{ fail (printf "service.ports: port %v is there twice" .port) }}{{ end }}
{{- $port := include "cellgate.port" (dict "boot" $boot "listener" .listener) }}
{{- if has $port $inside }}
{{- fail (printf "service.ports: %s leads to port %s of the pod, and so does another port or metrics.sidecar.port" .name $port) }}
{{- end }}
{{- $names = append $names .name }}
{{- $ports = append $ports (toString .port) }}
{{- $inside = append $inside $port }}
{{- end }}
{{- end }}

{{/* A label that the chart sets itself would be there twice. */}}
{{- define "cellgate.fitsLabels" -}}
{{- $own := include "cellgate.labels" . | fromYaml }}
{{- range $part := list "serviceMonitor" "rules" "dashboard" }}
{{- range $label, $value := (get $.Values.metrics $part).labels }}
{{- if hasKey $own $label }}{{ fail (printf "metrics.%s.labels: %s is the chart's own; leave it out" $part $label) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
