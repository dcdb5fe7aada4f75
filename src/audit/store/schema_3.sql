-- What credentials were called under the key before, noted while fingerprint keys rotate: reports know both names as one.
CREATE TABLE credential_names (
    account    INTEGER NOT NULL,
    credential TEXT    NOT NULL,  -- as in integrations, under the newer key
    before     TEXT    NOT NULL,  -- under the older one
    PRIMARY KEY (account, credential, before)
) STRICT, WITHOUT ROWID;

-- The most frequent programs that clients.yaml does not know, by the name that they give themselves.
CREATE TABLE unknown_clients (
    day      INTEGER NOT NULL,  -- days since the Unix epoch
    product  TEXT    NOT NULL,  -- '-' for what is no name
    requests INTEGER NOT NULL,
    too_many INTEGER NOT NULL,  -- how many of them may be somebody else's
    PRIMARY KEY (day, product)
) STRICT, WITHOUT ROWID;
CREATE INDEX unknown_clients_by_requests ON unknown_clients (day, requests, product);
