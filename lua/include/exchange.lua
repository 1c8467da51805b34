-- A recipient that is there and cannot take one message must not lose what follows, and one that is away must lose nothing.
-- So a message is given up only in this order: it has failed three times, the last time just after the recipient has shown
-- that it is there (by a sign, or by responding to an `idle`); an `idle` is taken; the message is sent alone and fails again;
-- and at once a later one arrives. So the recipient was there before and after it: one that comes back at any moment in
-- between gets the message. If no later one arrives, the position stays at the first. Needs what missed gives. Gives
-- note_failure, try_again, send_alone, and what refused gives.
-- Events of this include: `message` to the member, the one that has failed, or the one behind it; `idle` to the member;
-- catch_up: probe, wait: 0, more: how many messages are given up if it arrives; since: from where on the member has missed
-- messages, or the id of the message that has failed; joined: since when the user is one, or a later place up to which
-- nothing is left to be sent; client: what is known of the member's client
--- @include "refused"

local FAILURES = 3
-- Outcomes of deliveries that were not tried.
local NOT_SENT = { away = true, surplus = true, ["no-target"] = true }

local function send_alone(message, address, user, value, number, since, joined)
    local more = number > 0 and { "more", number } or {}
    more[#more + 1], more[#more + 2], more[#more + 3], more[#more + 4] = "since", since, "joined", joined or ""
    send_missed(message, address, user, value, "catch_up", "probe", "wait", "0", unpack(more))
end

-- After commit, and at the end of it: request, a report, is another one then. The message at `position` has failed; the
-- member has missed all from `since` on. `refused` is the field before, if any. Needs room, history, now. Returns how often
-- the first message has failed since the recipient was there; 0 if it never was.
local function note_failure(user, value, position, refused, since, joined)
    if request.event ~= "message" or NOT_SENT[request.status] then
        return 0
    end
    local first, count, trying, number = refused_state(refused)
    local was_there = trying == "!" .. position
    local is_tried = was_there or trying == position
    if first ~= position and not is_tried then
        if request.catch_up ~= "part" and request.catch_up ~= "more" then
            return 0 -- nobody knows whether the recipient is there
        end
        first, count = position, 0
    end
    count = first == position and count + 1 or count
    local address = request.room
    local following = is_tried and count >= FAILURES and number < count and missed(history, behind(position), user, 1, now)[1]
    if not following then
        keep_refused(room, user, first, count, "-", 0)
    elseif was_there then
        keep_refused(room, user, first, count, following[1], number + 1)
        send_alone(following, address, user, value, number + 1, since, joined)
    else
        keep_refused(room, user, first, count, "?" .. position, number)
        request = { room = address, from = address }
        emit("idle", { user }, "catch_up", "probe", "wait", "0", "since", position, unpack(client_of(user, value)))
    end
    return count
end

-- After commit. An `idle` was taken. Whether it was sent after this message has failed, which is sent once more then.
local function try_again(room, address, user, value, message, refused, since, joined)
    local first, count, trying, number = refused_state(refused)
    if not message or trying ~= "?" .. message[1] then
        return false
    end
    keep_refused(room, user, first, count, "!" .. message[1], number)
    send_alone(message, address, user, value, number, since, joined)
    return true
end
