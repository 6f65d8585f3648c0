project_id IN {project_ids:Array(UInt64)}
AND $column != ''
AND received_at <= fromUnixTimestamp64Micro(
    transform(
        concat(toString(project_id), ' ', hex(SHA256(concat(unhex({salt:String}), $column)))),
        {ids:Array(String)}, {cutoffs_us:Array(Int64)}, toInt64(-1)
    ),
    'UTC'
)
