-- Facts of the chain's blocks. Each row names its block, and goes when the block is taken back.
--
-- The text is for SQLite. For PostgreSQL, the program replaces BLOB by BYTEA, and leaves out
-- WITHOUT ROWID. Amounts have two columns: whole POL, and the rest in the smallest unit. A state
-- holds until the block in the column `until`, or still.

CREATE TABLE blocks (
    number BIGINT NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL,
    parent BLOB NOT NULL,
    time BIGINT NOT NULL,
    author BLOB
) WITHOUT ROWID;
CREATE INDEX blocks_by_hash ON blocks (hash);

-- Last block that is final, in one row. It cannot be deleted.
CREATE TABLE finality (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    number BIGINT NOT NULL REFERENCES blocks (number)
);

CREATE TABLE extrinsics (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    number BIGINT NOT NULL,
    hash BLOB NOT NULL,
    signer BLOB,
    nonce BIGINT,
    pallet TEXT NOT NULL,
    call TEXT NOT NULL,
    fee_pol BIGINT NOT NULL,
    fee_units BIGINT NOT NULL,
    tip_pol BIGINT NOT NULL,
    tip_units BIGINT NOT NULL,
    failure TEXT,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX extrinsics_by_signer ON extrinsics (signer, block, item);
CREATE INDEX extrinsics_by_hash ON extrinsics (hash, block, item);

CREATE TABLE movements (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    account BLOB NOT NULL,
    kind TEXT NOT NULL,
    amount_pol BIGINT NOT NULL,
    amount_units BIGINT NOT NULL,
    other BLOB,
    extrinsic BIGINT,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX movements_by_account ON movements (account, block, item);

CREATE TABLE balances (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    account BLOB NOT NULL,
    free_pol BIGINT NOT NULL,
    free_units BIGINT NOT NULL,
    held_pol BIGINT NOT NULL,
    held_units BIGINT NOT NULL,
    frozen_pol BIGINT NOT NULL,
    frozen_units BIGINT NOT NULL,
    until BIGINT REFERENCES blocks (number) ON DELETE SET NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX balances_by_account ON balances (account, block, item);
CREATE INDEX balances_now ON balances (account) WHERE until IS NULL;
CREATE INDEX balances_until ON balances (until) WHERE until IS NOT NULL;

CREATE TABLE members (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    account BLOB NOT NULL,
    role TEXT,
    bond_pol BIGINT NOT NULL,
    bond_units BIGINT NOT NULL,
    stake_pol BIGINT,
    stake_units BIGINT,
    bonded BIGINT NOT NULL,
    chilled BIGINT NOT NULL,
    absent BIGINT NOT NULL,
    endpoint BLOB,
    until BIGINT REFERENCES blocks (number) ON DELETE SET NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX members_by_account ON members (account, block, item);
CREATE INDEX members_now ON members (account) WHERE until IS NULL;
CREATE INDEX members_until ON members (until) WHERE until IS NOT NULL;

CREATE TABLE phases (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    round BIGINT NOT NULL,
    phase TEXT NOT NULL,
    deadline BIGINT,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX phases_by_round ON phases (round, block, item);

CREATE TABLE rounds (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    round BIGINT NOT NULL,
    opened_at BIGINT NOT NULL,
    revealed BIGINT NOT NULL,
    included BIGINT NOT NULL,
    excised BIGINT NOT NULL,
    root BLOB,
    recipe BLOB,
    lineage BLOB,
    tokens BIGINT,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX rounds_by_round ON rounds (round, block, item);
CREATE INDEX rounds_by_root ON rounds (root, block, item);

CREATE TABLE measurements (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    round BIGINT NOT NULL,
    share BIGINT NOT NULL,
    loss BIGINT NOT NULL,
    level BIGINT NOT NULL,
    self_awareness BIGINT,
    auroc BIGINT,
    calibration_error BIGINT,
    reasoning BIGINT,
    introspection BIGINT,
    coherence BIGINT,
    meta_cognition BIGINT,
    utilisation BIGINT,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX measurements_by_round ON measurements (round, block, item);

CREATE TABLE votes (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    round BIGINT NOT NULL,
    account BLOB NOT NULL,
    kind TEXT NOT NULL,
    root BLOB,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX votes_by_round ON votes (round, block, item);
CREATE INDEX votes_by_account ON votes (account, block, item);

CREATE TABLE leases (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    round BIGINT NOT NULL,
    account BLOB NOT NULL,
    granted BIGINT NOT NULL,
    tier TEXT NOT NULL,
    shards BLOB NOT NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX leases_by_round ON leases (round, account, block, item);
CREATE INDEX leases_by_account ON leases (account, block, item);

CREATE TABLE commits (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    round BIGINT NOT NULL,
    account BLOB NOT NULL,
    first_loss BIGINT NOT NULL,
    last_loss BIGINT NOT NULL,
    tokens_per_second BIGINT NOT NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX commits_by_round ON commits (round, account, block, item);

CREATE TABLE reveals (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    round BIGINT NOT NULL,
    account BLOB NOT NULL,
    number BIGINT NOT NULL,
    payload BLOB NOT NULL,
    steps BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX reveals_by_round ON reveals (round, account, block, item);

CREATE TABLE settlements (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    round BIGINT NOT NULL,
    account BLOB NOT NULL,
    outcome TEXT,
    audit BIGINT,
    score BIGINT NOT NULL,
    gain BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    staleness BIGINT NOT NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX settlements_by_round ON settlements (round, account, block, item);

CREATE TABLE shards (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    manifest BIGINT NOT NULL,
    shard BIGINT NOT NULL,
    round BIGINT NOT NULL,
    account BLOB NOT NULL,
    delta BIGINT NOT NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX shards_by_manifest ON shards (manifest, block, item);
CREATE INDEX shards_by_manifest_shard ON shards (manifest, shard, block, item, delta);
CREATE INDEX shards_by_round ON shards (round, block, item);
CREATE INDEX shards_by_round_account ON shards (round, account, block, item);
CREATE INDEX shards_by_account ON shards (account, block, item);

CREATE TABLE audits (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    audit BIGINT NOT NULL,
    round BIGINT NOT NULL,
    draw BIGINT NOT NULL,
    cases BIGINT NOT NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX audits_by_audit ON audits (audit, block, item);
CREATE INDEX audits_by_round ON audits (round, block, item);

CREATE TABLE seats (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    audit BIGINT NOT NULL,
    trainer BLOB NOT NULL,
    validator BLOB NOT NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX seats_by_audit ON seats (audit, block, item);
CREATE INDEX seats_by_validator ON seats (validator, block, item);
CREATE INDEX seats_by_trainer ON seats (trainer, block, item);

CREATE TABLE audit_steps (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    audit BIGINT NOT NULL,
    kind TEXT NOT NULL,
    account BLOB,
    trainer BLOB,
    outcome TEXT,
    amount_pol BIGINT,
    amount_units BIGINT,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX audit_steps_by_audit ON audit_steps (audit, block, item);
CREATE INDEX audit_steps_by_account ON audit_steps (account, block, item);

CREATE TABLE sources (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    source BIGINT NOT NULL,
    owner BLOB NOT NULL,
    address TEXT NOT NULL,
    licence TEXT NOT NULL,
    withdrawn BIGINT NOT NULL,
    until BIGINT REFERENCES blocks (number) ON DELETE SET NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX sources_by_source ON sources (source, block, item);
CREATE INDEX sources_now ON sources (source) WHERE until IS NULL;
CREATE INDEX sources_until ON sources (until) WHERE until IS NOT NULL;

CREATE TABLE manifests (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    manifest BIGINT NOT NULL,
    source BIGINT NOT NULL,
    owner BLOB NOT NULL,
    stage TEXT NOT NULL,
    kind TEXT,
    shards BIGINT NOT NULL,
    shard_tokens BIGINT NOT NULL,
    held_out BIGINT NOT NULL,
    quality BIGINT NOT NULL,
    activity TEXT NOT NULL,
    content BLOB NOT NULL,
    tokenizer BLOB NOT NULL,
    documents BLOB,
    registered BIGINT NOT NULL,
    until BIGINT REFERENCES blocks (number) ON DELETE SET NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX manifests_by_manifest ON manifests (manifest, block, item);
CREATE INDEX manifests_by_source ON manifests (source, block, item);
CREATE INDEX manifests_by_owner ON manifests (owner, block, item);
CREATE INDEX manifests_now ON manifests (manifest) WHERE until IS NULL;
CREATE INDEX manifests_until ON manifests (until) WHERE until IS NOT NULL;

CREATE TABLE derivations (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    parent BIGINT NOT NULL,
    child BIGINT NOT NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX derivations_by_parent ON derivations (parent, block, item);
CREATE INDEX derivations_by_child ON derivations (child, block, item);

CREATE TABLE emissions (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    round BIGINT NOT NULL,
    trainers_pol BIGINT NOT NULL,
    trainers_units BIGINT NOT NULL,
    validators_pol BIGINT NOT NULL,
    validators_units BIGINT NOT NULL,
    providers_pol BIGINT NOT NULL,
    providers_units BIGINT NOT NULL,
    treasury_pol BIGINT NOT NULL,
    treasury_units BIGINT NOT NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX emissions_by_round ON emissions (round, block, item);

CREATE TABLE settled_rounds (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    round BIGINT NOT NULL,
    unearned_pol BIGINT NOT NULL,
    unearned_units BIGINT NOT NULL,
    trainers_pol BIGINT NOT NULL,
    trainers_units BIGINT NOT NULL,
    trainers_weight BIGINT NOT NULL,
    validators_pol BIGINT NOT NULL,
    validators_units BIGINT NOT NULL,
    validators_weight BIGINT NOT NULL,
    providers_pol BIGINT NOT NULL,
    providers_units BIGINT NOT NULL,
    providers_weight BIGINT NOT NULL,
    improved BIGINT NOT NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX settled_rounds_by_round ON settled_rounds (round, block, item);

CREATE TABLE rewards (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    round BIGINT NOT NULL,
    account BLOB NOT NULL,
    source TEXT NOT NULL,
    weight BIGINT NOT NULL,
    amount_pol BIGINT NOT NULL,
    amount_units BIGINT NOT NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX rewards_by_account ON rewards (account, block, item);
CREATE INDEX rewards_by_round ON rewards (round, block, item);
CREATE INDEX rewards_by_account_round ON rewards (account, round, block, item);
CREATE INDEX rewards_sums ON rewards (account, source, amount_pol, amount_units);

CREATE TABLE payments (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    account BLOB,
    kind TEXT NOT NULL,
    round BIGINT,
    amount_pol BIGINT NOT NULL,
    amount_units BIGINT NOT NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX payments_by_account ON payments (account, block, item);
CREATE INDEX payments_by_account_round ON payments (account, round, block, item);

CREATE TABLE penalties (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    account BLOB NOT NULL,
    cause TEXT NOT NULL,
    round BIGINT,
    audit BIGINT,
    amount_pol BIGINT NOT NULL,
    amount_units BIGINT NOT NULL,
    seized BIGINT NOT NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
CREATE INDEX penalties_by_account ON penalties (account, block, item);
CREATE INDEX penalties_by_audit ON penalties (audit, block, item);
CREATE INDEX penalties_by_round ON penalties (round, account);

CREATE TABLE ledgers (
    block BIGINT NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    item BIGINT NOT NULL,
    emitted_pol BIGINT NOT NULL,
    emitted_units BIGINT NOT NULL,
    seized_pol BIGINT NOT NULL,
    seized_units BIGINT NOT NULL,
    paid_pol BIGINT NOT NULL,
    paid_units BIGINT NOT NULL,
    burned_pol BIGINT NOT NULL,
    burned_units BIGINT NOT NULL,
    waiting_pol BIGINT NOT NULL,
    waiting_units BIGINT NOT NULL,
    PRIMARY KEY (block, item)
) WITHOUT ROWID;
