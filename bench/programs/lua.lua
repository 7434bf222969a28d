-- SPDX-License-Identifier: MIT
-- SPDX-FileCopyrightText: 2026 The libhakmem authors
--
-- lua.lua [TIMES]: what Lua programs do with memory: tables as records, arrays and trees, closures, strings that are
-- made, matched and joined. For the bench line of lua. Ends with 1 when what came out is wrong.
local times = arg[1] == nil and 6 or math.tointeger(tonumber(arg[1]))
if arg[2] or not times or times < 1 then
    io.stderr:write("usage: lua lua.lua [TIMES]\n")
    os.exit(2)
end

local seed
local function number()
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed >> 8
end

local function put(t, key)
    if not t then
        return {key = key}
    end
    if key < t.key then
        t.left = put(t.left, key)
    else
        t.right = put(t.right, key)
    end
    return t
end

local function depth(t)
    return t and 1 + math.max(depth(t.left), depth(t.right)) or 0
end

local function work()
    seed = 1
    local records, by_name, makers = {}, {}, {}
    for i = 1, 12000 do
        local r = {id = i, name = "name" .. number() % 900, at = {number() % 100, number() % 100}}
        records[i] = r
        by_name[r.name] = by_name[r.name] or {}
        table.insert(by_name[r.name], r)
        makers[i] = function(n) return r.at[1] * n + r.at[2] end
    end
    table.sort(records, function(a, b)
        if a.name ~= b.name then
            return a.name < b.name
        end
        return a.id < b.id
    end)
    local lines, sum = {}, 0
    for i, r in ipairs(records) do
        sum = (sum * 31 + makers[r.id](i)) % 1000000007
        lines[#lines + 1] = string.format("%s:%d:%d,%d", r.name, r.id, r.at[1], r.at[2])
    end
    local text = table.concat(lines, "\n")
    for name, id in text:gmatch("(%a+%d+):(%d+)") do
        sum = (sum * 17 + #by_name[name] * tonumber(id)) % 1000000007
    end
    local changed, n = text:gsub("name(%d)", "n%1-")
    local tree
    for _ = 1, 12000 do
        tree = put(tree, number())
    end
    return table.concat({sum, #text, #changed, n, depth(tree)}, "/")
end

local first = work()
for _ = 2, times do
    assert(work() == first, "two runs differ")
end
print("checksum " .. first)
if first ~= "601019324/225090/201090/12000/32" then
    io.stderr:write("lua.lua: the checksum is wrong\n")
    os.exit(1)
end
