-- A report that nothing depends on is removed from the stream.
--
-- KEYS:
--   requests  imc:{S}:in  stream
--
-- ARGV:
--   entry_id  the report's id in requests
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
local requests = KEYS[1]
local entry_id = ARGV[1]
--- @include "request"

commit()
return "done"
