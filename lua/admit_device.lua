-- The report that a device has accepted the INVITE of a room: it gets what was said since its user has joined, and then what
-- is said. Each device that accepts the same INVITE reports alone. In the report, `from` is who was invited, `device` who
-- has accepted, `dialog` what an edge needs for the next request, and `of` the event of the INVITE. If the user was removed
-- and added again since, the device is not let in: it gets another INVITE.
--
-- KEYS:
--   requests     imc:{S}:in               stream
--   events       imc:{S}:out              stream
--   rooms        imc_rooms:{S}            sorted set
--   room         imc_rooms:{S}:ROOM       hash
--   members      imc_members:{S}:ROOM     hash
--   away_rooms   imc:{S}:away_rooms:FROM  set
--   probes       imc:{S}:probes           sorted set
--   probe_waits  imc:{S}:probe_waits      hash
--   history_off  imc:{S}:history_off      set
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--   history_max     messages that a room keeps, approximately; 0: none
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   bye  to the device, if its user is no member any more, or is one anew, or has too many devices
local requests, events, rooms, room, members, away_rooms, probes, probe_waits, history_off = unpack(KEYS)
local entry_id, delivery_chunk, history_max = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "role"
--- @include "admit_device"

redis.call("ZCARD", rooms) -- is a sorted set
redis.call("SCARD", away_rooms)
redis.call("ZCARD", probes)
redis.call("HLEN", probe_waits)
local keeps = tonumber(history_max) > 0 and redis.call("SISMEMBER", history_off, request.room) == 0
local user = user_of(request.from)
-- The client keeps the room under the To of its INVITE, so the last one that it has accepted says by which name. Before, it may
-- have accepted another one, or have entered by itself: its own INVITE does not say by which name it knows the room.
local by_aor = request.from == user and ";aor" or ""
local device = assert(request.device, "device") .. by_aor
local known = device_in(devices, request.device)
local is_renamed = known ~= nil and known ~= device
-- Until its ACK is confirmed, it matters since when, and of which event (unknown_session). `detail` says how many ms after the
-- 2xx the report was written.
local accepted_at = entry_id:match("^%d+") - (tonumber(request.detail) or 0)
local dialog = dialog_of(request):gsub('("state":"accepted")}$',
    string.format('%%1,"accepted_at":%.0f,"of":"%s"}', accepted_at, (request.of or ""):match("^[%d-]*")))
local value = redis.call("HGET", members, user)
local position, joined = unpack(redis.call("HMGET", room, "away:" .. user, "joined:" .. user))
local has_place, replaced = place_for(known or device)
local is_of_stay = not (joined and request.of and is_before(request.of, joined))
local is_wanted = is_member(value) and user_of(device) == user and has_place and is_of_stay
position = keeps and (position or joined) or nil

commit()
if not is_wanted then
    end_dialog(device, dialog)
    return "done"
end
if is_renamed then
    forget_name(known)
end
let_in(device, value, position, dialog, replaced)
return "done"
