-- A recipient that is there and cannot take one message must not lose what follows, and one that is away must lose nothing.
-- So a message is given up only in this order: it has failed three times; the recipient shows that it is there (by a sign,
-- or by responding to an `idle`); the message is sent alone and fails again; and at once a later one arrives. If no later
-- one arrives, the position stays at the first. `refused:USER` in the room's hash has four words: the id of the first message,
-- how often it has failed, the id of what is being tried now ("-": nothing), and how many messages lie before that.
-- Needs request (a report), room, events, history, now, and what missed gives. Gives note_failure.
-- Events of this include: `message` to the member, the one behind a message that has failed; catch_up: probe, wait: 0,
-- more: how many messages are given up if it arrives; since: from where on the member has missed messages; joined: since
-- when the user is one

local FAILURES = 3
-- Outcomes of deliveries that were not tried.
local NOT_SENT = { away = true, surplus = true, ["no-target"] = true }

-- After commit, and at the end of it: request is another one then. The message at `position` has failed; the member has
-- missed all from `since` on. `refused` is the field before, if any. Returns how often the first message has failed since the
-- recipient was there; 0 if it never was.
local function note_failure(user, value, position, refused, since, joined)
    if request.event ~= "message" or NOT_SENT[request.status] then
        return 0
    end
    local first, count, trying, number = (refused or ""):match("^(%S+) (%d+) (%S+) (%d+)$")
    count, number = tonumber(count or 0), tonumber(number or 0)
    local is_tried = trying == position
    if first ~= position and not is_tried then
        if request.catch_up ~= "part" and request.catch_up ~= "more" then
            return 0 -- nobody knows whether the recipient is there
        end
        first, count = position, 0
    end
    count = first == position and count + 1 or count
    local following = is_tried and count >= FAILURES and number < count and missed(history, behind(position), user, 1, now)[1]
    local state = following and { first, count, following[1], number + 1 } or { first, count, "-", 0 }
    redis.call("HSET", room, "refused:" .. user, table.concat(state, " "))
    if following then
        send_missed(following, request.room, user, value, "catch_up", "probe", "wait", "0", "more", number + 1, "since", since,
            "joined", joined or "")
    end
    return count
end
