-- A ban is lifted: the user may come in again.
--
-- KEYS:
--   requests  imc:{S}:in            stream
--   events    imc:{S}:out           stream
--   rooms     imc_rooms:{S}         sorted set
--   room      imc_rooms:{S}:ROOM    hash
--   members   imc_members:{S}:ROOM  hash
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   unbanned  to the sender, owners and admins; user: whose ban was lifted
--   refused   to the sender: unknown_room, not_member, admins_only, not_banned
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "bans"

local reason = refusal("admin") or (not is_banned(request.user) and "not_banned")
if reason then
    return refuse(reason)
end

commit()
redis.call("HDEL", room, "ban:" .. without_port(request.user))
tell("unbanned", { request.from }, here(IN_CHARGE), "user", request.user)
return "done"
