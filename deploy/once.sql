-- BuildGrid looks whether an action is under way before it takes it, but not in one step: of the same action from two clients in the same
-- milliseconds it makes two jobs. With this index the database refuses the second, and doit build asks again.
CREATE UNIQUE INDEX IF NOT EXISTS enginewright_once ON jobs (instance_name, action_digest)
WHERE stage <> 4 AND cancelled IS NOT TRUE AND do_not_cache IS NOT TRUE
