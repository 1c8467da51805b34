-- What a room keeps of a user beyond the role: fields KIND:USER of the room's hash. So they are deleted, copied
-- and moved with the room, and destroy, import, export and reshard know no kinds. Needs room, members. Gives
-- forget_member.

-- The kinds that end when the user leaves the room, is removed, or declines:
--   invitation  id of the event that carries the invitation
--   nick        the user's nickname in the room
--   joined      id of the event that told of the join: from here on the user may see what was said
--   away        id of the first message that a member who is away has not got
--   returning   id of the event that leads to the next part of what the member missed
--   sign        id of the event by which the member was last asked to catch up: it had given a sign that it is there
--   ended       id up to which nothing is left to be sent: an absence has ended, and nothing was there to be handed out
--   more        what of the history the user was told of and has not got (unseen)
--   refused     id of that first message, if the member may be there and cannot take it, and how often it has failed (exchange)
--   inviter     who invited a user who could not be reached
--   left        the user has deleted a chat of two, and is invited with the next message (of_two)
local ENDS_WITH_MEMBERSHIP = {
    "invitation", "nick", "joined", "away", "returning", "sign", "ended", "more", "refused", "inviter", "left",
}

-- After commit. The user's role goes, and all state that ends with it.
local function forget_member(address)
    local fields = {}
    for i, kind in ipairs(ENDS_WITH_MEMBERSHIP) do
        fields[i] = kind .. ":" .. address
    end
    redis.call("HDEL", members, address)
    redis.call("HDEL", room, unpack(fields))
end
