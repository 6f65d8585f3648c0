-- All shards' events under one name. The API's writes name their shard; the random key is for
-- what people write by hand.
CREATE TABLE IF NOT EXISTS $database.$events $on_cluster AS $database.$local
ENGINE = Distributed('$cluster', '$database', '$local', rand());
