-- Do something for each item in turn and return how many were done. On a cluster a key of one may be
-- on its way to another server: what touches it raises. Then the items after it are left; where nothing
-- was done yet, the error is raised. `call` touches all keys of an item before it writes, or sets
-- `state.has_written` once it has done a part that may stand alone.
local function do_each(items, call, state)
  for i, item in ipairs(items) do
    local is_done, why = pcall(call, item)
    if not is_done and i == 1 and not (state and state.has_written) then error(why, 0) end
    if not is_done then return i - 1 end
  end
  return #items
end
