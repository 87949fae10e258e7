-- Fields of the input by which a transaction can be found, as `field=value`, where its
-- definition names any. Where none is named, there is no index to pay for.
ALTER TABLE twofold.transaction ADD COLUMN search text[] COLLATE "C";
CREATE INDEX transaction_search ON twofold.transaction USING gin (search)
    WHERE search IS NOT NULL;
