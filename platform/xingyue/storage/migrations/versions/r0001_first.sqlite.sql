CREATE TABLE accounts (
	id VARCHAR(160) NOT NULL,
	balance_micros BIGINT NOT NULL,
	CONSTRAINT pk_accounts PRIMARY KEY (id),
	CONSTRAINT ck_accounts_never_overdrawn CHECK ((substr(id, 1, 8) = 'funding:' AND balance_micros <= 0) OR (substr(id, 1, 8) <> 'funding:' AND balance_micros >= 0))
)

CREATE TABLE audit_head (
	id INTEGER NOT NULL,
	sequence BIGINT NOT NULL,
	hash VARCHAR(64) NOT NULL,
	CONSTRAINT pk_audit_head PRIMARY KEY (id)
)

INSERT INTO audit_head (id, sequence, hash) VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000')

CREATE TABLE audit_log (
	sequence INTEGER NOT NULL,
	at BIGINT NOT NULL,
	key_id VARCHAR(64) NOT NULL,
	tenant_id VARCHAR(64) NOT NULL,
	action VARCHAR(64) NOT NULL,
	subject VARCHAR(255) NOT NULL,
	details TEXT NOT NULL,
	request_id VARCHAR(128) NOT NULL,
	previous_hash VARCHAR(64) NOT NULL,
	hash VARCHAR(64) NOT NULL,
	CONSTRAINT pk_audit_log PRIMARY KEY (sequence)
)

CREATE INDEX ix_audit_log_subject ON audit_log (subject)

CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END

CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END

CREATE TABLE counters (
	name VARCHAR(255) NOT NULL,
	used BIGINT NOT NULL,
	CONSTRAINT pk_counters PRIMARY KEY (name),
	CONSTRAINT ck_counters_used_not_negative CHECK (used >= 0)
)

CREATE TABLE event_counters (
	event_id VARCHAR(64) NOT NULL,
	counter VARCHAR(255) NOT NULL,
	amount BIGINT NOT NULL,
	CONSTRAINT pk_event_counters PRIMARY KEY (event_id, counter)
)

CREATE TABLE file_indexes (
	file_id VARCHAR(40) NOT NULL,
	tenant VARCHAR(64) NOT NULL,
	profile VARCHAR(128) NOT NULL,
	passages INTEGER NOT NULL,
	pages INTEGER NOT NULL,
	bytes BIGINT NOT NULL,
	CONSTRAINT pk_file_indexes PRIMARY KEY (file_id)
)

CREATE TABLE files (
	id VARCHAR(40) NOT NULL,
	tenant VARCHAR(64) NOT NULL,
	filename VARCHAR(255) NOT NULL,
	bytes BIGINT NOT NULL,
	purpose VARCHAR(16) NOT NULL,
	media_type VARCHAR(128) NOT NULL,
	sha256 VARCHAR(64) NOT NULL,
	status VARCHAR(16) NOT NULL,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_files PRIMARY KEY (id)
)

CREATE INDEX ix_files_tenant_created_at ON files (tenant, created_at, id)

CREATE TABLE gateway_sessions (
	id VARCHAR(64) NOT NULL,
	gateway_id VARCHAR(128) NOT NULL,
	state VARCHAR(16) NOT NULL,
	last_batch BIGINT NOT NULL,
	started_at BIGINT NOT NULL,
	renewed_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	CONSTRAINT pk_gateway_sessions PRIMARY KEY (id)
)

CREATE INDEX ix_gateway_sessions_gateway_id ON gateway_sessions (gateway_id)

CREATE INDEX ix_gateway_sessions_state ON gateway_sessions (state)

CREATE TABLE holds (
	id VARCHAR(64) NOT NULL,
	session_id VARCHAR(64) NOT NULL,
	tenant_id VARCHAR(64) NOT NULL,
	lease_id VARCHAR(64),
	amount_max_micros BIGINT NOT NULL,
	state VARCHAR(16) NOT NULL,
	created_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	terms TEXT,
	CONSTRAINT pk_holds PRIMARY KEY (id)
)

CREATE INDEX ix_holds_session_id ON holds (session_id)

CREATE INDEX ix_holds_state_expires_at ON holds (state, expires_at)

CREATE INDEX ix_holds_tenant_id ON holds (tenant_id)

CREATE TABLE idempotency (
	tenant_id VARCHAR(64) NOT NULL,
	"key" VARCHAR(255) NOT NULL,
	claim VARCHAR(64) NOT NULL,
	request_hash VARCHAR(64) NOT NULL,
	session_id VARCHAR(64) NOT NULL,
	state VARCHAR(16) NOT NULL,
	response_status INTEGER,
	response_headers TEXT,
	response_body BLOB,
	event_id VARCHAR(64),
	created_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	CONSTRAINT pk_idempotency PRIMARY KEY (tenant_id, "key"),
	CONSTRAINT uq_idempotency_claim UNIQUE (claim)
)

CREATE INDEX ix_idempotency_expires_at ON idempotency (expires_at)

CREATE TABLE index_revisions (
	revision VARCHAR(32) NOT NULL,
	vector_store_id VARCHAR(40) NOT NULL,
	tenant VARCHAR(64) NOT NULL,
	created_at BIGINT NOT NULL,
	retired_at BIGINT,
	CONSTRAINT pk_index_revisions PRIMARY KEY (revision)
)

CREATE INDEX ix_index_revisions_vector_store ON index_revisions (vector_store_id)

CREATE TABLE leases (
	id VARCHAR(64) NOT NULL,
	session_id VARCHAR(64) NOT NULL,
	tenant_id VARCHAR(64) NOT NULL,
	amount_micros BIGINT NOT NULL,
	consumed_micros BIGINT NOT NULL,
	state VARCHAR(16) NOT NULL,
	recalled BOOLEAN NOT NULL,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_leases PRIMARY KEY (id),
	CONSTRAINT ck_leases_consumed_within CHECK (consumed_micros BETWEEN 0 AND amount_micros)
)

CREATE INDEX ix_leases_session_id ON leases (session_id)

CREATE INDEX ix_leases_tenant_id ON leases (tenant_id)

CREATE TABLE ledger_head (
	id INTEGER NOT NULL,
	transfer_seq BIGINT NOT NULL,
	event_seq BIGINT NOT NULL,
	CONSTRAINT pk_ledger_head PRIMARY KEY (id)
)

INSERT INTO ledger_head (id, transfer_seq, event_seq) VALUES (1, 0, 0)

CREATE TABLE prices (
	id VARCHAR(64) NOT NULL,
	reference VARCHAR(128) NOT NULL,
	model VARCHAR(160) NOT NULL,
	tenant_id VARCHAR(64),
	unit VARCHAR(32) NOT NULL,
	per BIGINT NOT NULL,
	tiers TEXT NOT NULL,
	monthly_fee_micros BIGINT NOT NULL,
	effective_from BIGINT NOT NULL,
	effective_until BIGINT,
	note VARCHAR(256),
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_prices PRIMARY KEY (id),
	CONSTRAINT uq_prices_reference UNIQUE (reference)
)

CREATE INDEX ix_prices_model_tenant_id ON prices (model, tenant_id)

CREATE TABLE tenants (
	id VARCHAR(64) NOT NULL,
	name VARCHAR(128) NOT NULL,
	created_at BIGINT NOT NULL,
	status VARCHAR(16) NOT NULL,
	rate_limit_requests INTEGER NOT NULL,
	concurrency_max INTEGER NOT NULL,
	allow_noncommercial BOOLEAN NOT NULL,
	group_id VARCHAR(64),
	limits TEXT,
	CONSTRAINT pk_tenants PRIMARY KEY (id)
)

CREATE TABLE transfers (
	id INTEGER NOT NULL,
	debit VARCHAR(160) NOT NULL,
	credit VARCHAR(160) NOT NULL,
	amount_micros BIGINT NOT NULL,
	kind VARCHAR(32) NOT NULL,
	event_id VARCHAR(64),
	reference VARCHAR(160),
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_transfers PRIMARY KEY (id),
	CONSTRAINT ck_transfers_amount_positive CHECK (amount_micros > 0),
	CONSTRAINT ck_transfers_two_accounts CHECK (debit <> credit),
	CONSTRAINT uq_transfers_credit_reference UNIQUE (credit, reference)
)

CREATE INDEX ix_transfers_credit_created_at ON transfers (credit, created_at)

CREATE INDEX ix_transfers_debit_created_at ON transfers (debit, created_at)

CREATE TRIGGER transfers_no_update BEFORE UPDATE ON transfers BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END

CREATE TRIGGER transfers_no_delete BEFORE DELETE ON transfers BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END

CREATE TABLE tuning_job_events (
	job_id VARCHAR(40) NOT NULL,
	sequence INTEGER NOT NULL,
	id VARCHAR(40) NOT NULL,
	created_at BIGINT NOT NULL,
	level VARCHAR(8) NOT NULL,
	type VARCHAR(16) NOT NULL,
	message TEXT NOT NULL,
	data JSON NOT NULL,
	CONSTRAINT pk_tuning_job_events PRIMARY KEY (job_id, sequence),
	CONSTRAINT uq_tuning_job_events_id UNIQUE (id)
)

CREATE TABLE tuning_jobs (
	id VARCHAR(40) NOT NULL,
	tenant_id VARCHAR(64) NOT NULL,
	key_id VARCHAR(64) NOT NULL,
	model VARCHAR(192) NOT NULL,
	base_model VARCHAR(96) NOT NULL,
	base_version VARCHAR(64) NOT NULL,
	parent VARCHAR(192),
	base_head JSON,
	recipe VARCHAR(96) NOT NULL,
	method VARCHAR(96) NOT NULL,
	hyperparameters JSON NOT NULL,
	seed BIGINT NOT NULL,
	suffix VARCHAR(40) NOT NULL,
	training_file TEXT NOT NULL,
	validation_file TEXT,
	metadata JSON,
	budget_micros BIGINT,
	price_micros_per_s BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	status VARCHAR(20) NOT NULL,
	attempt INTEGER NOT NULL,
	started_at BIGINT,
	finished_at BIGINT,
	error JSON,
	version VARCHAR(64),
	compute_s BIGINT NOT NULL,
	dataset_digest VARCHAR(80),
	metrics JSON NOT NULL,
	outcome JSON,
	claim VARCHAR(40),
	lease_until BIGINT,
	last_event INTEGER NOT NULL,
	idempotency_key VARCHAR(255),
	request_hash VARCHAR(64),
	CONSTRAINT pk_tuning_jobs PRIMARY KEY (id)
)

CREATE INDEX ix_tuning_jobs_claim ON tuning_jobs (claim)

CREATE INDEX ix_tuning_jobs_status_created_at ON tuning_jobs (status, created_at)

CREATE INDEX ix_tuning_jobs_tenant_created_at ON tuning_jobs (tenant_id, created_at, id)

CREATE UNIQUE INDEX uq_tuning_jobs_idempotency ON tuning_jobs (tenant_id, idempotency_key)

CREATE TABLE usage_events (
	cursor INTEGER NOT NULL,
	id VARCHAR(64) NOT NULL,
	tenant_id VARCHAR(64) NOT NULL,
	key_id VARCHAR(64) NOT NULL,
	model VARCHAR(160) NOT NULL,
	version VARCHAR(64) NOT NULL,
	unit VARCHAR(32) NOT NULL,
	units BIGINT NOT NULL,
	cost_micros BIGINT NOT NULL,
	request_id VARCHAR(128) NOT NULL,
	created_at BIGINT NOT NULL,
	gateway_id VARCHAR(128) NOT NULL,
	kind VARCHAR(32) NOT NULL,
	price_id VARCHAR(96),
	CONSTRAINT pk_usage_events PRIMARY KEY (cursor),
	CONSTRAINT uq_usage_events_id UNIQUE (id)
)

CREATE INDEX ix_usage_events_model_created_at ON usage_events (model, created_at)

CREATE INDEX ix_usage_events_tenant_id_created_at ON usage_events (tenant_id, created_at)

CREATE INDEX ix_usage_events_tenant_id_cursor ON usage_events (tenant_id, cursor)

CREATE TRIGGER usage_events_no_update BEFORE UPDATE ON usage_events BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END

CREATE TRIGGER usage_events_no_delete BEFORE DELETE ON usage_events BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END

CREATE TABLE variant_events (
	id INTEGER NOT NULL,
	variant_id VARCHAR(96) NOT NULL,
	at BIGINT NOT NULL,
	actor VARCHAR(96) NOT NULL,
	action VARCHAR(32) NOT NULL,
	detail TEXT NOT NULL,
	CONSTRAINT pk_variant_events PRIMARY KEY (id)
)

CREATE INDEX ix_variant_events_variant_id_id ON variant_events (variant_id, id)

CREATE TABLE variant_head (
	id INTEGER NOT NULL,
	revision BIGINT NOT NULL,
	CONSTRAINT pk_variant_head PRIMARY KEY (id)
)

INSERT INTO variant_head (id, revision) VALUES (1, 0)

CREATE TABLE variant_tallies (
	variant_id VARCHAR(96) NOT NULL,
	version VARCHAR(16) NOT NULL,
	epoch INTEGER NOT NULL,
	calls BIGINT NOT NULL,
	errors BIGINT NOT NULL,
	refusals BIGINT NOT NULL,
	fails BIGINT NOT NULL,
	scores TEXT NOT NULL,
	CONSTRAINT pk_variant_tallies PRIMARY KEY (variant_id, version, epoch)
)

CREATE TABLE variants (
	id VARCHAR(96) NOT NULL,
	tenant_id VARCHAR(64) NOT NULL,
	suffix VARCHAR(64) NOT NULL,
	base_model VARCHAR(96) NOT NULL,
	visibility VARCHAR(16) NOT NULL,
	price_micros BIGINT,
	price_per BIGINT,
	stable VARCHAR(16),
	canary VARCHAR(16),
	percent INTEGER NOT NULL,
	epoch INTEGER NOT NULL,
	history TEXT NOT NULL,
	guard TEXT NOT NULL,
	next_version INTEGER NOT NULL,
	created_at BIGINT NOT NULL,
	listed_at BIGINT,
	shutdown_at BIGINT,
	successor VARCHAR(96),
	deleted_at BIGINT,
	revision BIGINT NOT NULL,
	CONSTRAINT pk_variants PRIMARY KEY (id)
)

CREATE INDEX ix_variants_revision ON variants (revision)

CREATE INDEX ix_variants_tenant_id ON variants (tenant_id)

CREATE INDEX ix_variants_visibility ON variants (visibility)

CREATE TABLE vector_store_files (
	vector_store_id VARCHAR(40) NOT NULL,
	id VARCHAR(40) NOT NULL,
	tenant VARCHAR(64) NOT NULL,
	status VARCHAR(16) NOT NULL,
	error_code VARCHAR(32),
	error_message TEXT,
	passages INTEGER NOT NULL,
	pages INTEGER NOT NULL,
	usage_bytes BIGINT NOT NULL,
	attempts INTEGER NOT NULL,
	claim VARCHAR(32),
	claimed_until BIGINT,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_vector_store_files PRIMARY KEY (vector_store_id, id)
)

CREATE INDEX ix_vector_store_files_file ON vector_store_files (id)

CREATE INDEX ix_vector_store_files_status ON vector_store_files (status, claimed_until)

CREATE TABLE vector_stores (
	id VARCHAR(40) NOT NULL,
	tenant VARCHAR(64) NOT NULL,
	name VARCHAR(256) NOT NULL,
	metadata JSON NOT NULL,
	created_at BIGINT NOT NULL,
	last_active_at BIGINT NOT NULL,
	expires_after_days INTEGER,
	revision_number INTEGER NOT NULL,
	revision VARCHAR(32),
	head_digest VARCHAR(64),
	deleted_at BIGINT,
	CONSTRAINT pk_vector_stores PRIMARY KEY (id)
)

CREATE INDEX ix_vector_stores_tenant_created_at ON vector_stores (tenant, created_at, id)

CREATE TABLE vouchers (
	id VARCHAR(64) NOT NULL,
	code VARCHAR(64) NOT NULL,
	tenant_id VARCHAR(64),
	amount_micros BIGINT NOT NULL,
	valid_from BIGINT NOT NULL,
	valid_until BIGINT NOT NULL,
	models TEXT,
	industries TEXT,
	share_percent INTEGER NOT NULL,
	unaffiliated_only BOOLEAN NOT NULL,
	contract VARCHAR(128),
	batch VARCHAR(128),
	state VARCHAR(16) NOT NULL,
	created_at BIGINT NOT NULL,
	assigned_at BIGINT,
	ended_at BIGINT,
	CONSTRAINT pk_vouchers PRIMARY KEY (id),
	CONSTRAINT uq_vouchers_code UNIQUE (code)
)

CREATE INDEX ix_vouchers_state_valid_until ON vouchers (state, valid_until)

CREATE INDEX ix_vouchers_tenant_id_state ON vouchers (tenant_id, state)

CREATE TABLE webhook_relay (
	id INTEGER NOT NULL,
	holder VARCHAR(128) NOT NULL,
	expires_at BIGINT NOT NULL,
	CONSTRAINT pk_webhook_relay PRIMARY KEY (id)
)

CREATE TABLE webhooks (
	id VARCHAR(64) NOT NULL,
	tenant_id VARCHAR(64) NOT NULL,
	url TEXT NOT NULL,
	secret VARCHAR(128) NOT NULL,
	state VARCHAR(16) NOT NULL,
	cursor BIGINT NOT NULL,
	sending_to BIGINT,
	failures INTEGER NOT NULL,
	due_at BIGINT NOT NULL,
	reason TEXT,
	delivered BIGINT NOT NULL,
	delivered_at BIGINT,
	created_at BIGINT NOT NULL,
	CONSTRAINT pk_webhooks PRIMARY KEY (id)
)

CREATE INDEX ix_webhooks_state_due_at ON webhooks (state, due_at)

CREATE INDEX ix_webhooks_tenant_id ON webhooks (tenant_id)

CREATE TABLE api_keys (
	id VARCHAR(64) NOT NULL,
	tenant_id VARCHAR(64) NOT NULL,
	name VARCHAR(128) NOT NULL,
	prefix VARCHAR(16) NOT NULL,
	hash VARCHAR(64) NOT NULL,
	scopes VARCHAR(128) NOT NULL,
	models TEXT,
	limits TEXT,
	created_at BIGINT NOT NULL,
	revoked_at BIGINT,
	CONSTRAINT pk_api_keys PRIMARY KEY (id),
	CONSTRAINT fk_api_keys_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id),
	CONSTRAINT uq_api_keys_hash UNIQUE (hash)
)

CREATE INDEX ix_api_keys_tenant_id ON api_keys (tenant_id)

CREATE TABLE variant_aliases (
	variant_id VARCHAR(96) NOT NULL,
	name VARCHAR(32) NOT NULL,
	version VARCHAR(16) NOT NULL,
	CONSTRAINT pk_variant_aliases PRIMARY KEY (variant_id, name),
	CONSTRAINT fk_variant_aliases_variant_id FOREIGN KEY(variant_id) REFERENCES variants (id)
)

CREATE TABLE variant_versions (
	variant_id VARCHAR(96) NOT NULL,
	version VARCHAR(16) NOT NULL,
	job_id VARCHAR(96) NOT NULL,
	facts TEXT NOT NULL,
	signature VARCHAR(128) NOT NULL,
	key_id VARCHAR(32) NOT NULL,
	created_at BIGINT NOT NULL,
	released_at BIGINT,
	CONSTRAINT pk_variant_versions PRIMARY KEY (variant_id, version),
	CONSTRAINT fk_variant_versions_variant_id FOREIGN KEY(variant_id) REFERENCES variants (id),
	CONSTRAINT uq_variant_versions_job_id UNIQUE (job_id)
)
