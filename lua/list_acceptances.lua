-- Which devices have accepted an INVITE, for an edge that takes its event over from another one. The reports of some may still
-- wait for a worker.
--
-- KEYS:
--   events  imc:{S}:out         stream
--   room    imc_rooms:{S}:ROOM  hash
--
-- ARGV:
--   event_id  the event of the INVITE
--   address   of the room
--   user      the user who was invited, or whose device was
--
-- Returns:
--   (list)   of dialogs: those that the devices of the user have in the room, and those of the reports
--   unknown  too many requests wait
local events, room = unpack(KEYS)
local event_id, address, user = unpack(ARGV)
--- @include "reported"
--- @include "device"
--- @include "device_name"
--- @include "now"

-- RFC 3261 §13.3.1.4: 64*T1 after its 2xx, a device without an ACK has ended the session.
local VALID_MS = 32 * 1000

redis.call("XLEN", events) -- is a stream
redis.call("HLEN", room)
local reported, are_more = reported_events()
if are_more then
    return "unknown"
end
local found = reported[event_id] or {}
for _, device in ipairs(redis.call("HKEYS", devices_of(address))) do
    local dialog = user_of(device) == user and redis.call("HGET", room, "dialog:" .. device)
    local is_confirmed = dialog and dialog:find('"state":"confirmed"}', 1, true)
    local accepted_at = dialog and tonumber(dialog:match('"accepted_at":(%d+)'))
    local has_ended = dialog and dialog:find('"ended_for":', 1, true) -- for a session that was not reported (with_end)
    if dialog and not has_ended and (is_confirmed or not accepted_at or now < accepted_at + VALID_MS) then
        found[#found + 1] = dialog
    end
end
return found
