-- A chat of two, as Linphone calls a room in its INVITE to the factory (imc_edge/conference/dialog.py: MARKS). Its apps
-- delete such a chat by BYE. The user stays a member and is invited again with the next message of the other one
-- (bring_back): that would reach nobody otherwise. Needs room, members, events, and what room gives. Gives other_of_two,
-- has_left, leave_chat_of_two.
--- @include "place_now"

-- The header and its value, as they follow each other in the data of that request (msgpack).
local OF_TWO = "One-To-One-Chat-Room" .. string.char(0xa4) .. "true"
-- What the room keeps of a user who is to get messages.
local OF_A_RECIPIENT = { "invitation", "away", "returning", "sign", "more", "refused", "inviter" }

-- The other member; nil if the room is no chat of two, or has come to have more members.
local function other_of_two(user)
    local about = redis.call("HGET", room, "conference")
    if not about or not about:find(OF_TWO, 1, true) then
        return nil
    end
    local all, other = with_role(RANK), nil
    for _, member in ipairs(all) do
        other = member ~= user and member or other
    end
    return #all == 2 and other or nil
end

-- Whether this member has deleted the chat, and is not invited again yet.
local function has_left(user)
    return redis.call("HEXISTS", room, "left:" .. user) == 1
end

-- After commit. A new stay begins, so that the next INVITE is not taken for one of before
-- (imc_edge/delivering/invitation_order.py).
local function leave_chat_of_two(user)
    for _, kind in ipairs(OF_A_RECIPIENT) do
        redis.call("HDEL", room, kind .. ":" .. user)
    end
    redis.call("HSET", members, user, "member inviting")
    redis.call("HSET", room, "left:" .. user, "1", "joined:" .. user, place_now())
end
