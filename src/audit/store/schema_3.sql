-- What credentials were called under the key before, noted while fingerprint keys rotate: reports know both names as one.
CREATE TABLE credential_names (
    account    INTEGER NOT NULL,
    credential TEXT    NOT NULL,  -- as in integrations, under the newer key
    before     TEXT    NOT NULL,  -- under the older one
    PRIMARY KEY (account, credential, before)
) STRICT, WITHOUT ROWID;
