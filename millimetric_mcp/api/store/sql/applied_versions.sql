-- Which migrations were applied; two processes may both have noted one.
SELECT DISTINCT version FROM $database.$versions;
