-- Indexes for walks from a text to its manifest, and for the ends of rewards.

CREATE INDEX manifests_by_content ON manifests (content, block, item);
CREATE INDEX manifests_by_documents ON manifests (documents, block, item);
CREATE INDEX payments_by_round ON payments (round, block, item);
CREATE INDEX payments_by_account_kind ON payments (account, kind, block, item);
