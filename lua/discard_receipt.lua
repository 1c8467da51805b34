-- A receipt that asks for nothing: it is only taken off the stream.
--
-- KEYS:
--   requests  imc:{S}:in  stream
--
-- ARGV:
--   entry_id  the receipt's id in requests
--
-- Returns:
--   done   the request had its effect, which may be a refusal
--   gone   it had its effect before: nothing changed
--   early  an older request is still there: nothing changed
local requests = KEYS[1]
local entry_id = ARGV[1]
--- @include "head"

commit()
return "done"
