-- A device of a member gets what is said in the room from now on. Needs room, members, request, and what emit and role give.
-- Needs away_rooms and probes (of the user). Gives
-- place_for, let_in.
--- @include "dismiss"
--- @include "positions"
--- @include "away_rooms"
--- @include "now"
--- @include "call_back"

-- Of one user in one room. Each costs a delivery for every message.
local MAX_DEVICES = 8
-- If what is asked for here gets lost, as with an edge's dead letters, a probe finds the device still away.
local NEXT_PROBE_MS = 60 * 1000

-- Whether the user has a place for this device; and if it takes the place of a device that has been away for longest, as of
-- a phone that is not used any more, its name.
local function place_for(device)
    local count, user, oldest, since = 0, user_of(device), nil, nil
    local all = redis.call("HGETALL", devices)
    for i = 1, #all, 2 do
        if all[i] == device then
            return true
        elseif user_of(all[i]) == user then
            count = count + 1
            local position = is_away(all[i + 1]) and redis.call("HGET", room, "away:" .. all[i])
            if position and (not since or is_before(position, since)) then
                oldest, since = all[i], position
            end
        end
    end
    if count >= MAX_DEVICES then
        return oldest ~= nil, oldest
    end
    return true
end

-- After commit. A client may subscribe before the room knows that it has accepted the INVITE: such a subscription is under the
-- name without ";aor", and no changes were noted for it.
local function adopt_subscription(device)
    local early = without_aor(device)
    local subscription = subscription_of(early)
    if subscription then
        subscription.rev = -1
        redis.call("HDEL", room, "subscription:" .. early)
        keep_subscription(device, subscription)
    end
end

-- After commit. `value` is the user's field of the members, `position` from where on a new device has missed messages; nil:
-- nothing. A device that is in the room already keeps its place; a new one may take that of another, `replaced`. What a device has missed is handed to it.
local function let_in(device, value, position, dialog, replaced)
    local user = user_of(device)
    if replaced then
        dismiss_device(replaced)
        record(replaced)
    end
    redis.call("HSET", members, user, role_of(value) .. " devices")
    redis.call("HDEL", room, "away:" .. user, "returning:" .. user, "refused:" .. user, "inviter:" .. user)
    redis.call("SREM", away_rooms, request.room)
    if dialog then
        redis.call("HSET", room, "dialog:" .. device, dialog)
    end
    if redis.call("HSETNX", devices, device, position and "device away" or "device") == 1 then
        has_devices = true
        adopt_subscription(device)
        record(user)
        if position then
            redis.call("HSET", room, "away:" .. device, position)
            redis.call("SADD", away_rooms, away_room(request.room, device))
            redis.call("ZADD", probes, "NX", now + NEXT_PROBE_MS, user)
        end
    end
    if is_away(redis.call("HGET", devices, device)) then
        call_back(room, request.room, device, true)
    end
end
