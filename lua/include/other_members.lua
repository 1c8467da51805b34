-- Who gets what a sender says: all members but the sender, neither the invited nor who is away. Needs what may_speak
-- gives. Gives other_members, other_client.

-- The kind of client that needs this request in another form than it has.
local function other_client(request)
    return request.cpim and "text" or "cpim"
end

-- `members` is the key of the room's members. Returns the addresses, how many members these are, and apart, nil if
-- nobody, the addresses of those with this kind of client, which is no part of the first list then. At last, whether some
-- of them have devices: these are in neither list (other_devices).
local function other_members(members, sender, client)
    local others, count, n, apart, has_devices = {}, 0, 0, nil, false
    local all = redis.call("HGETALL", members)
    for i = 1, #all, 2 do
        local address, value = all[i], all[i + 1]
        local here = value == "member" or HERE[value]
        if here and address ~= sender then
            n = n + 1
            if here == client then
                apart = apart or {}
                apart[#apart + 1] = address
            elseif here == "devices" then
                has_devices = true
            else
                count = count + 1 -- not #others: it is searched for
                others[count] = address
            end
        end
    end
    return others, n, apart, has_devices
end
