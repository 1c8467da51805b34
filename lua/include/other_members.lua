-- Who gets what a sender says: all members but the sender, neither the invited nor who is away. Needs what may_speak
-- and device give. Gives other_members, other_client, other_devices.

-- The kind of client that needs this request in another form than it has.
local function other_client(request)
    return request.cpim and "text" or "cpim"
end

-- `members` is the key of the room's members. Returns the addresses, how many members these are, and apart, nil if
-- nobody, the addresses of those with this kind of client, which is no part of the first list then. At last, whether some
-- of them have devices: these are in neither list (other_devices).
local function other_members(members, sender, client)
    local others, n, apart, has_devices = {}, 0, nil, false
    local all = redis.call("HGETALL", members)
    for i = 1, #all, 2 do
        local value = all[i + 1]
        local here = value == "member" or HERE[value]
        if here and all[i] ~= sender then
            n = n + 1
            if here == true then
                others[#others + 1] = all[i]
            elseif here == client then
                apart = apart or {}
                apart[#apart + 1] = all[i]
            elseif here == "devices" then
                has_devices = true
            else
                others[#others + 1] = all[i]
            end
        end
    end
    return others, n, apart, has_devices
end

-- The devices in the room that are not away, but for the one that has sent this request; nil if there are none. Returns as
-- well whether the sending device is away.
local function other_devices(devices, own)
    local found, own_is_away, all = {}, false, redis.call("HGETALL", devices)
    for i = 1, #all, 2 do
        if own and (all[i] == own or all[i] == own .. ";aor") then
            own_is_away = all[i + 1] ~= "device"
        elseif all[i + 1] == "device" then
            found[#found + 1] = all[i]
        end
    end
    return #found > 0 and found or nil, own_is_away
end
