# How `sam build` makes each function (Metadata BuildMethod: makefile).
#
# One cargo build makes all of them: the first target compiles, the others find
# it done. PROFILE=dev is for checks: what is deployed is built in release. For arm64
# set CARGO_BUILD_TARGET=aarch64-unknown-linux-gnu (with its linker) and deploy with
# Architecture=arm64.

CARGO_TARGET_DIR ?= target
PROFILE ?= release
BUILT = $(CARGO_TARGET_DIR)/$(CARGO_BUILD_TARGET)/$(patsubst dev,debug,$(PROFILE))
FUNCTIONS = -p tracking-api -p admin-api -p analytics-api -p alerts-api -p ingest-job \
	-p relay-job -p aggregate-job -p alert-job -p lifecycle-job -p erasure-job \
	-p reconcile-job -p analytics-refresh-job -p anomaly-job \
	-p reports-api -p report-job -p access-log-job

.PHONY: build-TrackingApi build-AdminApi build-AnalyticsApi build-AlertsApi build-IngestJob \
	build-RelayJob build-AggregateJob build-AlertJob build-LifecycleJob build-ErasureJob \
	build-ReconcileJob build-AnalyticsRefreshJob build-AnomalyJob \
	build-ReportsApi build-ReportJob build-AccessLogJob functions

build-TrackingApi: functions
	install -m 755 $(BUILT)/tracking-api $(ARTIFACTS_DIR)/bootstrap

build-AdminApi: functions
	install -m 755 $(BUILT)/admin-api $(ARTIFACTS_DIR)/bootstrap

build-AlertsApi: functions
	install -m 755 $(BUILT)/alerts-api $(ARTIFACTS_DIR)/bootstrap

build-AnalyticsApi: functions
	install -m 755 $(BUILT)/analytics-api $(ARTIFACTS_DIR)/bootstrap

build-IngestJob: functions
	install -m 755 $(BUILT)/ingest-job $(ARTIFACTS_DIR)/bootstrap

build-RelayJob: functions
	install -m 755 $(BUILT)/relay-job $(ARTIFACTS_DIR)/bootstrap

build-AggregateJob: functions
	install -m 755 $(BUILT)/aggregate-job $(ARTIFACTS_DIR)/bootstrap

build-AlertJob: functions
	install -m 755 $(BUILT)/alert-job $(ARTIFACTS_DIR)/bootstrap

build-LifecycleJob: functions
	install -m 755 $(BUILT)/lifecycle-job $(ARTIFACTS_DIR)/bootstrap

build-ErasureJob: functions
	install -m 755 $(BUILT)/erasure-job $(ARTIFACTS_DIR)/bootstrap

build-ReconcileJob: functions
	install -m 755 $(BUILT)/reconcile-job $(ARTIFACTS_DIR)/bootstrap

build-AnalyticsRefreshJob: functions
	install -m 755 $(BUILT)/analytics-refresh-job $(ARTIFACTS_DIR)/bootstrap

build-AnomalyJob: functions
	install -m 755 $(BUILT)/anomaly-job $(ARTIFACTS_DIR)/bootstrap

build-ReportsApi: functions
	install -m 755 $(BUILT)/reports-api $(ARTIFACTS_DIR)/bootstrap

build-ReportJob: functions
	install -m 755 $(BUILT)/report-job $(ARTIFACTS_DIR)/bootstrap

build-AccessLogJob: functions
	install -m 755 $(BUILT)/access-log-job $(ARTIFACTS_DIR)/bootstrap

functions:
	cargo build --profile $(PROFILE) --locked $(FUNCTIONS)
