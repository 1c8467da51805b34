-- A member is told who is in the room: roles and addresses, unsorted, without the invited.
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
--   members  to the sender; list: "role:address role:address|nickname ..."
--   refused  to the sender: unknown_room, not_member
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "nicknames"

local reason = refusal("member")
if reason then
    return refuse(reason)
end

local list, names, all = {}, nicknames(), redis.call("HGETALL", members)
for i = 1, #all, 2 do
    local address, role = all[i], role_of(all[i + 1])
    if is_member(role) then
        -- no address has a "|"
        list[#list + 1] = role .. ":" .. address .. (names[address] and "|" .. names[address] or "")
    end
end
commit()
emit("members", { request.from }, "list", table.concat(list, " "))
return "done"
