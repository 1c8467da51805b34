-- A NOTIFY that found nobody: its subscription is marked as `missed`, and no further NOTIFY is made for it until the user is
-- back, or is probed with one. The device is in away_rooms until then. Needs request and emit. Gives has_missed_notify,
-- notify_again, and what ask_for_notify gives.
--- @include "ask_for_notify"

-- `key` is the key of the room.
local function has_missed_notify(key, device)
    local text = redis.call("HGET", key, "subscription:" .. device)
    return text and cjson.decode(text).missed == true
end

-- After commit. The device gets what it has not seen of the room with this address, if it has subscribed. `is_probe`: nobody
-- knows whether it is back; if it is, settle_notify says so.
local function notify_again(key, address, device, is_probe)
    local text = redis.call("HGET", key, "subscription:" .. device)
    local subscription = text and cjson.decode(text)
    if subscription and subscription.missed then
        subscription.missed = is_probe and "probe" or nil
        redis.call("HSET", key, "subscription:" .. device, cjson.encode(subscription))
    end
    if subscription then
        ask_for_notify_in(key, address)
    end
end
