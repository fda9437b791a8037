-- Fees as changes of balances. An extrinsic and its fee have the same place in their tables.

INSERT INTO movements (block, item, account, kind, amount_pol, amount_units, other, extrinsic)
SELECT
    block,
    item,
    signer,
    'fee',
    fee_pol + tip_pol + (fee_units + tip_units) / 1000000000000,
    (fee_units + tip_units) % 1000000000000,
    NULL,
    number
FROM extrinsics
WHERE signer IS NOT NULL AND fee_pol + fee_units + tip_pol + tip_units > 0;
