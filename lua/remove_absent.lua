-- A member who has been away, and has given no sign, for longer than the operator allows is removed, by request of the
-- janitor. So is one all of whose devices have been away for as long. The last owner is never removed: a room without an
-- owner could not be administered.
--
-- KEYS:
--   requests       imc:{S}:in                  stream
--   events         imc:{S}:out                 stream
--   rooms          imc_rooms:{S}               sorted set
--   room           imc_rooms:{S}:ROOM          hash
--   members        imc_members:{S}:ROOM        hash
--   private_rooms  imc:{S}:private_rooms:FROM  set
--   owned_rooms    imc:{S}:owned_rooms:FROM    set
--   away_rooms     imc:{S}:away_rooms:FROM     set
--
-- ARGV:
--   entry_id           the request's id in requests
--   delivery_chunk     recipients per event entry, at most
--   remove_after_days  how long a member may be away, 0 for ever
--   announce_joins     1: all members hear of joins and leaves, unless the room says otherwise
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   you_were_dropped  to the removed member
--   dropped           to the other members unless the room is quiet; user: the removed one
local requests, events, rooms, room, members, private_rooms, owned_rooms, away_rooms = unpack(KEYS)
local entry_id, delivery_chunk, remove_after_days, announce_joins = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "room"
--- @include "announce"
--- @include "member_state"
--- @include "owners"
--- @include "now"
--- @include "dismiss"

local A_DAY = 24 * 3600 * 1000
remove_after_days = tonumber(remove_after_days)
redis.call("SCARD", private_rooms) -- is a set
redis.call("SCARD", owned_rooms)
redis.call("SCARD", away_rooms)
local user = request.from

-- Since when this user or device has given no sign, in ms; nil if it is here, or is being handed what it missed. The position
-- may be older: of a message that the member cannot take, or while nothing reaches a member that goes on to send.
local function away_since(who, value)
    local about = { "away:" .. who, "returning:" .. who, "sign:" .. who }
    local position, leading, sign = unpack(redis.call("HMGET", room, unpack(about)))
    local is_returning = leading and #redis.pcall("XRANGE", events, leading, leading) > 0
    if not is_away(value) or is_returning or not position then
        return nil
    end
    return math.max(tonumber(position:match("^%d+")), tonumber((sign or "0"):match("^%d+")))
end

-- A member with devices is away since the last of them is.
local function member_away_since()
    local value = redis.call("HGET", members, user)
    if not value or HERE[value] ~= "devices" then
        return away_since(user, value)
    end
    local latest
    local all = redis.call("HGETALL", devices)
    for i = 1, #all, 2 do
        if user_of(all[i]) == user then
            local since = away_since(all[i], all[i + 1])
            if not since then
                return nil
            end
            latest = math.max(latest or 0, since)
        end
    end
    return latest
end

local since = member_away_since()
local is_due = since and remove_after_days > 0 and now - since >= remove_after_days * A_DAY
local owns_no_more = sender_role == "owner" and not owns_at_another_port(user)
local is_last_owner = sender_role == "owner" and #with_role({ owner = true }) == 1

commit()
if not is_due or is_last_owner then
    return "done"
end
local had_devices = dismiss(user)
forget_member(user)
redis.call("SREM", private_rooms, request.room)
redis.call("SREM", away_rooms, request.room)
if owns_no_more then
    redis.call("SREM", owned_rooms, request.room)
end
emit("you_were_dropped", had_devices and {} or { user })
announce("dropped", {}, "user", user)
return "done"
