-- The books of a fleet. A month is a schema of its own; its tables are partitions of these, so that all months can be asked
-- together. Constraints stand with the partitions, which are written by name.

CREATE TABLE cellgate.months (
    month text PRIMARY KEY  -- 2026-11
);

-- Which windows of which run of a process are in: each counts once, in whatever order they come.
CREATE TABLE cellgate.writers (
    writer   text PRIMARY KEY,
    windows  int8multirange NOT NULL DEFAULT '{}',
    ended_at int8           NOT NULL  -- Unix seconds: where the last of them ended
);

-- Accounts that were forgotten: what was counted of them before then and comes later is left out.
CREATE TABLE cellgate.forgotten (
    account      int8 PRIMARY KEY,
    forgotten_at int8 NOT NULL  -- Unix seconds
);

CREATE SEQUENCE cellgate.integration_ids;

-- For which time of the month which run of which replica has kept them.
CREATE TABLE cellgate.coverage (
    month      text           NOT NULL,
    writer     text           NOT NULL COLLATE "C",
    replica    text           NOT NULL COLLATE "C",
    started_at int8           NOT NULL,  -- Unix seconds
    ended_at   int8           NOT NULL,  -- Unix seconds
    closed     int8           NOT NULL,  -- 1 where the process has ended, and has said so
    covered    int8multirange NOT NULL   -- the windows that are in
) PARTITION BY LIST (month);

CREATE TABLE cellgate.integrations (
    month      text   NOT NULL,
    id         int8   NOT NULL DEFAULT nextval('cellgate.integration_ids'),
    subject    text   NOT NULL COLLATE "C" CHECK (subject IN ('account', 'unattributed', 'unmapped')),
    account    int8   NOT NULL,  -- 0 where subject is not 'account'
    client     text   NOT NULL COLLATE "C",
    surface    text   NOT NULL COLLATE "C",
    class      text   NOT NULL COLLATE "C",
    credential text   NOT NULL COLLATE "C",
    network    text   NOT NULL COLLATE "C",
    template   text   NOT NULL COLLATE "C",
    first_seen int8   NOT NULL,  -- Unix seconds
    last_seen  int8   NOT NULL,  -- Unix seconds
    days       int8[] NOT NULL   -- for each of 31 days: requests in the upper 40 bits, a bit for each hour in the lower 24
) PARTITION BY LIST (month);

CREATE TABLE cellgate.use_by_day (
    month       text NOT NULL,
    day         int8 NOT NULL,  -- days since the Unix epoch
    integration int8 NOT NULL,
    status_1xx  int8 NOT NULL,
    status_2xx  int8 NOT NULL,
    status_3xx  int8 NOT NULL,
    status_4xx  int8 NOT NULL,
    status_5xx  int8 NOT NULL,
    writes      int8 NOT NULL,
    refused     int8 NOT NULL,
    h00 int8 NOT NULL, h01 int8 NOT NULL, h02 int8 NOT NULL, h03 int8 NOT NULL,
    h04 int8 NOT NULL, h05 int8 NOT NULL, h06 int8 NOT NULL, h07 int8 NOT NULL,
    h08 int8 NOT NULL, h09 int8 NOT NULL, h10 int8 NOT NULL, h11 int8 NOT NULL,
    h12 int8 NOT NULL, h13 int8 NOT NULL, h14 int8 NOT NULL, h15 int8 NOT NULL,
    h16 int8 NOT NULL, h17 int8 NOT NULL, h18 int8 NOT NULL, h19 int8 NOT NULL,
    h20 int8 NOT NULL, h21 int8 NOT NULL, h22 int8 NOT NULL, h23 int8 NOT NULL
) PARTITION BY LIST (month);

CREATE TABLE cellgate.accounts (
    month   text NOT NULL,
    account int8 NOT NULL,
    prefix  text COLLATE "C",
    cell    text NOT NULL COLLATE "C",
    seen_at int8 NOT NULL
) PARTITION BY LIST (month);

-- What is known to be missing. The view `gaps` of a month has windows that never came, too.
CREATE TABLE cellgate.recorded_gaps (
    month      text NOT NULL,
    writer     text NOT NULL COLLATE "C",
    started_at int8,
    ended_at   int8 NOT NULL,
    reason     text NOT NULL COLLATE "C",
    requests   int8,
    note       text COLLATE "C"
) PARTITION BY LIST (month);

CREATE TABLE cellgate.learned_use (
    month       text NOT NULL,
    day         int8 NOT NULL,
    fingerprint text NOT NULL COLLATE "C",
    requests    int8 NOT NULL
) PARTITION BY LIST (month);

CREATE TABLE cellgate.cell_use (
    month    text NOT NULL,
    day      int8 NOT NULL,
    account  int8 NOT NULL,
    requests int8 NOT NULL
) PARTITION BY LIST (month);

CREATE TABLE cellgate.minutes (
    month    text NOT NULL,
    minute   int8 NOT NULL,
    legacy   int8 NOT NULL,
    cell     text NOT NULL COLLATE "C",
    class    text NOT NULL COLLATE "C",
    requests int8 NOT NULL,
    failed   int8 NOT NULL,
    late_2m  int8 NOT NULL,
    late_5m  int8 NOT NULL
) PARTITION BY LIST (month);

CREATE TABLE cellgate.harmed (
    month      text NOT NULL,
    minute     int8 NOT NULL,
    legacy     int8 NOT NULL,
    cell       text NOT NULL COLLATE "C",
    class      text NOT NULL COLLATE "C",
    account    int8 NOT NULL,
    credential text NOT NULL COLLATE "C",
    failed     int8 NOT NULL,
    late_2m    int8 NOT NULL,
    late_5m    int8 NOT NULL
) PARTITION BY LIST (month);

-- Whom brownouts have met.
CREATE TABLE cellgate.brownout_use (
    month      text NOT NULL,
    brownout   text NOT NULL COLLATE "C",
    started_at int8 NOT NULL,
    ended_at   int8 NOT NULL,
    mode       text NOT NULL COLLATE "C",
    day        int8 NOT NULL,
    account    int8 NOT NULL,
    requests   int8 NOT NULL,
    writes     int8 NOT NULL
) PARTITION BY LIST (month);

-- What credentials were called under the key before.
CREATE TABLE cellgate.credential_names (
    month      text NOT NULL,
    account    int8 NOT NULL,
    credential text NOT NULL COLLATE "C",
    before     text NOT NULL COLLATE "C"
) PARTITION BY LIST (month);

-- The most frequent programs that clients.yaml does not know.
CREATE TABLE cellgate.unknown_clients (
    month    text NOT NULL,
    day      int8 NOT NULL,
    product  text NOT NULL COLLATE "C",
    requests int8 NOT NULL,
    too_many int8 NOT NULL  -- how many of them may be somebody else's
) PARTITION BY LIST (month);

CREATE TABLE cellgate.lost_calls (
    month      text NOT NULL,
    at         int8 NOT NULL,
    account    int8 NOT NULL,
    method     text NOT NULL COLLATE "C",
    path       text NOT NULL COLLATE "C",
    request_id text NOT NULL COLLATE "C",
    outcome    text NOT NULL COLLATE "C",
    status     int8 NOT NULL,
    refusal    text COLLATE "C",
    cell       text NOT NULL COLLATE "C",
    class      text NOT NULL COLLATE "C",
    credential text NOT NULL COLLATE "C"
) PARTITION BY LIST (month);

-- The days of two windows together. More requests on a day than 32 bits hold are held as so many, as in a file.
CREATE FUNCTION cellgate.add_days(one int8[], other int8[]) RETURNS int8[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg((least((a >> 24) + (b >> 24), 4294967295) << 24) | ((a | b) & 16777215) ORDER BY day)
    FROM unnest(one, other) WITH ORDINALITY AS of (a, b, day)
$$;

-- Begins a month, once.
CREATE FUNCTION cellgate.add_month(begun text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    place text := 'cellgate_' || replace(begun, '-', '_');
    keys CONSTANT text[][] := ARRAY[
        ['coverage', 'PRIMARY KEY (writer)'],
        ['integrations', 'PRIMARY KEY (id), UNIQUE (subject, account, client, surface, class, credential, network)'],
        ['use_by_day', 'PRIMARY KEY (integration, day)'],
        ['accounts', 'PRIMARY KEY (account)'],
        ['recorded_gaps', 'CHECK (true)'],
        ['learned_use', 'PRIMARY KEY (day, fingerprint)'],
        ['cell_use', 'PRIMARY KEY (day, account)'],
        ['minutes', 'PRIMARY KEY (minute, legacy, cell, class)'],
        ['harmed', 'PRIMARY KEY (minute, legacy, cell, class, account, credential)'],
        ['brownout_use', 'PRIMARY KEY (brownout, started_at, ended_at, mode, day, account)'],
        ['credential_names', 'PRIMARY KEY (account, credential, before)'],
        ['unknown_clients', 'PRIMARY KEY (day, product)'],
        ['lost_calls', 'CHECK (true)']];
    one text[];
BEGIN
    -- Two replicas that begin the same month.
    PERFORM pg_advisory_xact_lock(hashtext('cellgate.months'));
    IF EXISTS (SELECT FROM cellgate.months WHERE month = begun) THEN
        RETURN;
    END IF;
    INSERT INTO cellgate.months VALUES (begun);
    EXECUTE format('CREATE SCHEMA %I', place);
    FOREACH one SLICE 1 IN ARRAY keys LOOP
        -- Attached and not made as a partition: that would wait for everybody who writes, and they for it.
        EXECUTE format('CREATE TABLE %I.%I (LIKE cellgate.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS, %s)',
            place, one[1], one[1], one[2]);
        EXECUTE format('ALTER TABLE %I.%I ALTER month SET DEFAULT %L', place, one[1], begun);
        EXECUTE format('ALTER TABLE cellgate.%I ATTACH PARTITION %I.%I FOR VALUES IN (%L)', one[1], place, one[1], begun);
    END LOOP;
    EXECUTE format('CREATE INDEX ON %I.use_by_day (day)', place);
    EXECUTE format('CREATE INDEX ON %I.lost_calls (at, account)', place);
    EXECUTE format('CREATE VIEW %I.gaps AS
        SELECT writer, started_at, ended_at, reason, requests, note FROM %I.recorded_gaps
        UNION ALL
        SELECT writer, lower(hole), upper(hole), ''spool'', NULL, NULL
        FROM %I.coverage, unnest(int8multirange(int8range(started_at, ended_at)) - covered) AS hole', place, place, place);
END
$$;
