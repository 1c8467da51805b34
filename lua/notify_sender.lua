-- The notice to the sender of a request that changes no room: help, rooms, and what the edge refused. The
-- request's own reason, command and detail are copied into the event.
--
-- KEYS:
--   requests  imc:{S}:in   stream
--   events    imc:{S}:out  stream
--
-- ARGV:
--   entry_id  the request's id in requests
--   event     help, rooms or refused
--   ...       further fields and values of the event
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   help, rooms, refused  to the sender
local requests, events = unpack(KEYS)
local entry_id, event = unpack(ARGV)
local further = { unpack(ARGV, 3) }
local delivery_chunk = 1
--- @include "request"
--- @include "emit"

assert(event and #further % 2 == 0, "an event has a name, a field has a value")
for _, field in ipairs({ "reason", "command", "detail" }) do
    if request[field] then
        further[#further + 1] = field
        further[#further + 1] = request[field]
    end
end
commit()
emit(event, { request.from }, unpack(further))
return "done"
