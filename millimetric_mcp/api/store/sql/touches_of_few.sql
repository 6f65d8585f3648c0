-- What `touched_by_person` needs to read only the touches of the events' persons.
WITH
$tied_visitors,
    own_persons AS MATERIALIZED
    (
$persons
    )
