-- A device of a member enters the room by INVITE: from now on it gets what is said, and what it has missed. An older dialog
-- of the device is replaced. Only members may enter.
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
--   bye  to the device, if its user is no member, or has too many devices; dialog: that of the request
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
local user = request.from
local device = device_in(devices, request.device) or name_of(assert(request.device, "device"))
local dialog = dialog_of(request)
local value = redis.call("HGET", members, user)
local position = redis.call("HGET", room, "away:" .. user)
local has_place, replaced = place_for(device)
local is_wanted = is_member(value) and user_of(device) == user and has_place
position = keeps and position or nil

commit()
if not is_wanted then
    end_dialog(device, dialog)
    return "done"
end
let_in(device, value, position, dialog, replaced)
return "done"
