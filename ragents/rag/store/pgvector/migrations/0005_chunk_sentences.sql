-- Vectors of the sentences of a chunk, for answers that are sentences of the sources (rag.sentence_vectors).
--
-- chunk_sentences.vectors   `sentences` vectors one after the other, in the order that ragents.llm.sentences gives a
--                           chunk's text, each as the halves (IEEE 754 binary16, little-endian) of the collection's dimension
--
-- Never searched, read by the key. A chunk that goes takes its row along; a chunk without a row is computed when asked.

CREATE TABLE ragents.chunk_sentences (
    tenant    text NOT NULL,
    chunk_id  uuid NOT NULL,
    sentences smallint NOT NULL CHECK (sentences >= 0),
    vectors   bytea NOT NULL,
    PRIMARY KEY (tenant, chunk_id),
    FOREIGN KEY (tenant, chunk_id) REFERENCES ragents.chunks (tenant, id) ON DELETE CASCADE
) WITH (toast_tuple_target = 8160);
ALTER TABLE ragents.chunk_sentences ALTER COLUMN vectors SET STORAGE EXTERNAL;  -- noise does not compress

ALTER TABLE ragents.chunk_sentences ENABLE ROW LEVEL SECURITY;
ALTER TABLE ragents.chunk_sentences FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON ragents.chunk_sentences USING (tenant = current_setting('ragents.tenant', true));
