-- Sentences no longer end at "Dr." or "No.": vectors of those that did belong to other sentences than a chunk has now.
-- Until the next ingestion stores them again, they are computed when an answer needs them.
TRUNCATE ragents.chunk_sentences;
