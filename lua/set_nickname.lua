-- A member takes a nickname, or gives it up. Nobody can take the nickname of another member, nor the user part of
-- another member's address: it is shown where there is no name.
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
--   announce_joins  1: all members hear of joins and leaves, unless the room says otherwise
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   nickname_set  to the sender, and to the other members unless the room is quiet; detail: the nickname, empty for
--                 none
--   refused       to the sender: unknown_room, not_member, name_taken
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk, announce_joins = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "nicknames"
--- @include "announce"

local name = request.text or ""

-- Upper and lower case of ASCII letters are the same name.
local function is_taken()
    for address, nick in pairs(nicknames()) do
        if address ~= request.from and nick:lower() == name:lower() then
            return true
        end
    end
    for _, address in ipairs(redis.call("HKEYS", members)) do
        if address ~= request.from and address:match("^[^@]*"):lower() == name:lower() then
            return true
        end
    end
    return false
end

local reason = refusal("member") or (is_taken() and "name_taken")
if reason then
    return refuse(reason)
end

commit()
if name == "" then
    redis.call("HDEL", room, "nick:" .. request.from)
else
    redis.call("HSET", room, "nick:" .. request.from, name)
end
announce("nickname_set", { request.from }, "detail", name)
return "done"
