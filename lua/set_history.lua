-- An owner says what the room keeps of its messages: nothing, so many messages, so many days, each within what the
-- operator allows, and whether new members may see what was said before they joined. What is too much is deleted. With
-- "off" this is all, and no member and no device is away any longer: the next message tells who is.
--
-- KEYS:
--   requests     imc:{S}:in            stream
--   events       imc:{S}:out           stream
--   rooms        imc_rooms:{S}         sorted set
--   room         imc_rooms:{S}:ROOM    hash
--   members      imc_members:{S}:ROOM  hash
--   history      imc_history:{S}:ROOM  stream
--   history_off  imc:{S}:history_off   set
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
--   history_set  to all members; detail: off, a number, days such as 7d, join, all
--   refused      to the sender: unknown_room, not_member, admins_only, owner_only, no_history
local requests, events, rooms, room, members, history, history_off = unpack(KEYS)
local entry_id, delivery_chunk, history_max = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "device"
--- @include "place_now"

redis.call("XLEN", history) -- is a stream
redis.call("SCARD", history_off) -- is a set
local wish = request.text
local reason = refusal("owner") or (assert(tonumber(history_max), "history_max") == 0 and "no_history")
if reason then
    return refuse(reason)
end

-- Nobody in this hash is away any longer.
local function here_again(who)
    local all = redis.call("HGETALL", who)
    for i = 1, #all, 2 do
        if is_away(all[i + 1]) then
            redis.call("HSET", who, all[i], (all[i + 1]:gsub(" away$", "")))
            redis.call("HDEL", room, "away:" .. all[i], "returning:" .. all[i], "refused:" .. all[i], "sign:" .. all[i])
            redis.call("HSET", room, "ended:" .. all[i], place_now())
        end
    end
end

assert(wish, "a wish")
redis.call("HLEN", devices_of(request.room)) -- is a hash
commit()
if wish == "join" or wish == "all" then
    redis.call("HSET", room, "history_from", wish)
else
    redis.call("HSET", room, "history", wish)
    redis.call("SREM", history_off, request.room)
end
if wish == "off" then
    redis.call("SADD", history_off, request.room)
    redis.call("DEL", history, "imc:" .. events:match("{%d+}") .. ":expiring:" .. request.room)
    here_again(members)
    here_again(devices_of(request.room))
elseif wish:match("^%d+$") then
    redis.call("XTRIM", history, "MAXLEN", "=", wish)
end
tell("history_set", { request.from }, here(RANK), "detail", wish)
return "done"
