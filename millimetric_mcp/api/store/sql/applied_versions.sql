-- Which migrations were applied. Two processes may both have recorded one.
SELECT DISTINCT version FROM $database.$versions;
