-- A user who has deleted a chat of two is invited again (member_who_left). Needs events, requests, request. Gives bring_back.
--- @include "place_now"

-- After commit. The user is asked by INVITE (open_room), and then gets what is said from now on.
local function bring_back(room, user)
    redis.call("HSET", room, "away:" .. user, place_now())
    redis.call("HDEL", room, "left:" .. user)
    redis.call("XADD", requests, "*", "type", "open", "from", user, "room", request.room, "data", "")
end
