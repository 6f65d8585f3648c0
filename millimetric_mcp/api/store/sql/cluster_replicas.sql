-- How many servers the cluster has.
SELECT count() FROM system.clusters WHERE cluster = {cluster:String}
